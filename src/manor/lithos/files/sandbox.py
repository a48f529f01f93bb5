"""A sandbox file: the limits under which one application runs. Trusted, written by who maintains the machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec

from manor.config.units import AbsolutePath, Pattern, Range
from manor.lithos.files.master import LogLevel
from manor.lithos.files.ranges import Id, IdMapEntry, IdRanges, IpAddress, PortRanges, paired_map_problems

PlainAbsolute = Annotated[str, Pattern(r"/(?!(?:.*/)?\.\.(?:/|$)).*", "write an absolute path without `..`")]
SecretsNamespace = Annotated[str, Pattern(r"[a-zA-Z0-9_.-]*", "write letters, digits, `_`, `.` and `-`")]

_CAPABILITIES = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = frozenset(_CAPABILITIES.split())


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """SANDBOXES_DIR/NAME.yaml"""

    unsupported: ClassVar[tuple[str, ...]] = ("bridged-network", "secrets-private-key")

    config_file: str | None = None
    image_dir: AbsolutePath = "/var/lib/lithos/containers"
    image_dir_levels: Annotated[int, Range(1, 16)] = 1
    used_images_list: str | None = None
    auto_clean: bool = True
    log_file: str | None = None
    log_level: LogLevel | None = None
    readonly_paths: dict[PlainAbsolute, PlainAbsolute] = {}
    writable_paths: dict[PlainAbsolute, PlainAbsolute] = {}
    allow_users: IdRanges = ()
    default_user: Id | None = None
    allow_groups: IdRanges = ()
    default_group: Id = 0
    allow_tcp_ports: PortRanges = ()
    additional_hosts: dict[Annotated[str, Pattern(r"\S+", "write a host name without blanks")], IpAddress] = {}
    uid_map: tuple[IdMapEntry, ...] = ()
    gid_map: tuple[IdMapEntry, ...] = ()
    resolv_conf: AbsolutePath = "/etc/resolv.conf"
    hosts_file: AbsolutePath = "/etc/hosts"
    secrets_namespaces: tuple[SecretsNamespace, ...] = ()

    no_new_privileges: bool = True
    seccomp_profile: Annotated[
        str, Pattern(r"default|unconfined|/.+", "write default, unconfined or an absolute path")
    ] = "default"
    capabilities: Any = ()
    masked_paths: Any = "default"
    readonly_proc_paths: Any = "default"
    pids_limit: Annotated[int, Range(1, 2**63 - 1)] | None = None

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        yield from paired_map_problems(self.uid_map, self.gid_map)
        yield from self._confinement_problems()

    def _confinement_problems(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        if self.capabilities != "all":
            if not _is_list_of_text(self.capabilities):
                yield ("capabilities",), "capabilities are a list of names or `all`"
            else:
                for index, name in enumerate(self.capabilities):
                    if capability(name) not in CAPABILITIES:
                        yield ("capabilities", index), f"unknown capability `{name}`; see capabilities(7)"
        for field in ("masked_paths", "readonly_proc_paths"):
            value = getattr(self, field)
            if value == "default":
                continue
            if not _is_list_of_text(value) or not all(path.startswith("/") for path in value):
                yield (field,), "a list of absolute paths or `default` belongs here"

    @property
    def kept_capabilities(self) -> tuple[str, ...]:
        """As the OCI bundle writes them: CAP_..., sorted."""
        names = CAPABILITIES if self.capabilities == "all" else {capability(name) for name in self.capabilities}
        return tuple(f"CAP_{name}" for name in sorted(names))


def capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
