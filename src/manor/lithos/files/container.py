"""A container config: a file inside the image that says how one process runs. Untrusted by the host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from manor.config.units import AbsolutePath, Check, Parse, Range, Seconds
from manor.lithos.files.probes import Probe
from manor.lithos.files.ranges import Id, IdMapEntry, IpAddress, paired_map_problems
from manor.lithos.files.sandbox import PlainAbsolute
from manor.lithos.files.volumes import Volume, mount_point_problem, normal

NO_LIMIT: Final = 2**63 - 1
NUL: Final = "\0"


def _parse_mount(text: str) -> bool | None:
    """`nil` is what the manual of the first lithos said, `auto` what its readers wrote."""
    try:
        return {"true": True, "false": False, "nil": None, "auto": None}[text]
    except KeyError:
        raise ValueError(f'"{text[:80]}" is neither true nor false; write `true`, `false` or `null`') from None


def _nul_problem(text: str) -> str | None:
    return "a NUL byte cannot be handed to a process; take it out" if NUL in text else None


Timeout = Annotated[Seconds, Range(0, 86400)]
MountChoice = Annotated[bool | None, Parse(_parse_mount)]
MountPoint = Annotated[str, Check(mount_point_problem)]
Text = Annotated[str, Check(_nul_problem)]

STOP_SIGNALS: Final = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"]
SYSTEMD_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID")


class TcpPortVariable(msgspec.Struct, frozen=True, kw_only=True, tag="TcpPort"):
    """A decimal port number; with `activation: systemd` also a listening socket handed over."""

    activation: Literal["none", "systemd"] = "none"


class ChoiceVariable(msgspec.Struct, frozen=True, kw_only=True, tag="Choice"):
    content: ClassVar[str] = "choices"
    choices: tuple[str, ...]


class NameVariable(msgspec.Struct, frozen=True, kw_only=True, tag="Name"):
    """Letters, digits, `-` and `_`."""


class DottedNameVariable(msgspec.Struct, frozen=True, kw_only=True, tag="DottedName"):
    """Labels joined by single dots."""


VariableType = TcpPortVariable | ChoiceVariable | NameVariable | DottedNameVariable


class TcpPort(msgspec.Struct, frozen=True, kw_only=True):
    """One item of `tcp-ports`: a listening socket the process finds at descriptor `fd`."""

    fd: Annotated[int, Range(0, 1_048_576)]
    host: IpAddress = "0.0.0.0"
    listen_backlog: Annotated[int, Range(0, 2**31 - 1)] = 128
    reuse_addr: bool = True
    reuse_port: bool = False
    set_non_block: bool = False
    external: bool = False

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        if self.fd in (1, 2):
            yield ("fd",), f"fd {self.fd} is standard output or error; use 0 or a number from 3 up"


class CopiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """`resolv-conf`."""

    copy_from_host: bool = True
    mount: MountChoice | None = None


class HostsFile(msgspec.Struct, frozen=True, kw_only=True):
    """`hosts-file`."""

    copy_from_host: bool = True
    localhost: bool | None = None
    public_hostname: bool | None = None
    mount: MountChoice | None = None

    @property
    def with_localhost(self) -> bool:
        return not self.copy_from_host if self.localhost is None else self.localhost

    @property
    def with_public_hostname(self) -> bool:
        return not self.copy_from_host if self.public_hostname is None else self.public_hostname


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A file such as /config/web.yaml in an image."""

    aliases: ClassVar[dict[str, str]] = {"work-dir": "workdir"}
    unsupported: ClassVar[tuple[str, ...]] = (
        "secret-environ",
        "secret-environ-file",
        "memory-high",
        "cpu-quota",
        "io-weight",
    )

    kind: Literal["Daemon", "Command", "CommandOrDaemon"] = "Daemon"
    variables: dict[str, VariableType] = {}
    metadata: Any = None
    user_id: Id | None = None
    group_id: Id | None = None
    memory_limit: Annotated[int, Range(1, NO_LIMIT)] = NO_LIMIT
    cpu_shares: Annotated[int, Range(0, NO_LIMIT)] = 1024
    fileno_limit: Annotated[int, Range(1, NO_LIMIT)] = 1024
    restart_timeout: Timeout = 1.0
    kill_timeout: Timeout = 5.0
    executable: AbsolutePath
    arguments: tuple[Text, ...] = ()
    environ: dict[str, Text] = {}
    workdir: AbsolutePath = "/"
    resolv_conf: CopiedFile = CopiedFile()
    hosts_file: HostsFile = HostsFile()
    uid_map: tuple[IdMapEntry, ...] = ()
    gid_map: tuple[IdMapEntry, ...] = ()
    stdout_stderr_file: PlainAbsolute | None = None
    interactive: bool = False
    restart_process_only: bool = False
    normal_exit_codes: tuple[Annotated[int, Range(0, 255)], ...] = ()
    volumes: dict[MountPoint, Volume] = {}
    tcp_ports: dict[str, TcpPort] = {}

    readiness: Probe | None = None
    health: Probe | None = None
    pre_stop_delay: Timeout = 0.0
    stop_signal: str = "TERM"

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        yield from paired_map_problems(self.uid_map, self.gid_map)
        yield from self._environ_problems()
        yield from self._volume_problems()
        for name in self.variables:
            if ":" in name:
                yield ("variables", name), f"variable `{name}` has a colon, which is kept for built-in variables"
        if self.stop_signal.removeprefix("SIG") not in STOP_SIGNALS:
            yield ("stop_signal",), f"unknown signal `{self.stop_signal}`; known are {', '.join(STOP_SIGNALS)}"
        if self.restart_process_only:
            yield ("restart_process_only",), "`restart-process-only` is not supported yet; leave it out"

    def _environ_problems(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        for name in self.environ:
            if not name or "=" in name or NUL in name:
                yield ("environ", name), f"`{name}` cannot name an environment variable; leave out `=` and NUL"

    def _volume_problems(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        seen: set[str] = set()
        for path in self.volumes:
            if normal(path) in seen:
                yield ("volumes", path), f"mount point `{path}` is given twice"
            seen.add(normal(path))

    @property
    def socket_activated(self) -> tuple[str, ...]:
        """The variables whose ports are handed over by systemd's convention, in order of their descriptors."""
        return tuple(
            sorted(
                name
                for name, kind in self.variables.items()
                if isinstance(kind, TcpPortVariable) and kind.activation == "systemd"
            )
        )


PID_VARIABLE: Final = re.compile(r"@\{\s*lithos:pid\s*\}")
