"""master.yaml: where lithos finds and keeps everything on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from manor.config.units import AbsolutePath, Pattern

DEFAULT_MASTER_CONFIG: Final = Path("/etc/lithos/master.yaml")
DEFAULT_DEVFS_DIR: Final = "/var/lib/lithos/dev"
NOT_GIVEN: Final = ""  # no absolute path, so no file can write it
DEFAULT_CONTROLLERS: Final = ("name", "cpu", "cpuacct", "memory", "blkio")
CONTROLLERS: Final = frozenset({*DEFAULT_CONTROLLERS, "pids", "io", "cpuset"})

LogLevel = Annotated[
    str, Pattern(r"(?i:error|warn|warning|info|debug|trace)", "write error, warn, info, debug or trace")
]


class MasterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """master.yaml. Paths are as written; `Places` resolves them."""

    aliases: ClassVar[dict[str, str]] = {"syslog-name": "syslog-app-name"}
    unsupported: ClassVar[tuple[str, ...]] = ("syslog-facility",)

    sandboxes_dir: str = "./sandboxes"
    processes_dir: str = "./processes"
    runtime_dir: AbsolutePath = "/run/lithos"
    state_dir: str = "state"
    mount_dir: str = "mnt"
    devfs_dir: AbsolutePath | None = NOT_GIVEN  # null is "a private tmpfs"
    cgroup_name: str | None = "lithos.slice"
    cgroup_controllers: tuple[str, ...] = ()
    default_log_dir: AbsolutePath = "/var/log/lithos"
    config_log_dir: AbsolutePath | None = "/var/log/lithos/config"
    stdio_log_dir: AbsolutePath = "/var/log/lithos/stderr"
    log_file: str = "master.log"
    log_level: LogLevel = "warn"
    syslog_app_name: str = "lithos"
    oci_runtime: Annotated[str, Pattern(r"auto|runc|crun|/.+", "write auto, runc, crun or an absolute path")] = "auto"
    container_init: Annotated[str, Pattern(r"auto|/.+", "write auto or an absolute path")] = "auto"

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        if self.cgroup_name is not None:
            parts = self.cgroup_name.split("/")
            if "" in parts or ".." in parts or "." in parts:
                yield ("cgroup_name",), f"`{self.cgroup_name}` is no group below the root; write names joined by `/`"
        for index, name in enumerate(self.cgroup_controllers):
            if name not in CONTROLLERS:
                yield (
                    ("cgroup_controllers", index),
                    f"unknown controller `{name}`; known are {', '.join(sorted(CONTROLLERS))}",
                )

    @property
    def controllers(self) -> tuple[str, ...]:
        return self.cgroup_controllers or DEFAULT_CONTROLLERS


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Every path of one master, absolute. Made once from the master config and the directory it lies in."""

    config_file: Path
    sandboxes: Path
    processes: Path
    runtime: Path
    state: Path
    mount: Path
    default_log: Path
    config_log: Path | None
    stdio_log: Path

    @classmethod
    def of(cls, config: MasterConfig, config_file: Path) -> Places:
        base = config_file.absolute().parent
        runtime = Path(config.runtime_dir)
        return cls(
            config_file=config_file.absolute(),
            sandboxes=base / config.sandboxes_dir,
            processes=base / config.processes_dir,
            runtime=runtime,
            state=runtime / config.state_dir,
            mount=runtime / config.mount_dir,
            default_log=Path(config.default_log_dir),
            config_log=None if config.config_log_dir is None else Path(config.config_log_dir),
            stdio_log=Path(config.stdio_log_dir),
        )

    @property
    def pid_file(self) -> Path:
        return self.runtime / "master.pid"

    @property
    def status_file(self) -> Path:
        return self.runtime / "status.json"

    @property
    def metrics(self) -> Path:
        return self.runtime / "metrics"

    @property
    def records(self) -> Path:
        return self.runtime / "containers"

    @property
    def bundles(self) -> Path:
        return self.runtime / "bundles"

    @property
    def notify(self) -> Path:
        return self.runtime / "notify"

    @property
    def oci(self) -> Path:
        return self.runtime / "oci"

    @property
    def sys(self) -> Path:
        return self.runtime / "sys"

    def sandbox_file(self, sandbox: str) -> Path:
        return self.sandboxes / f"{sandbox}.yaml"

    def processes_file(self, sandbox: str, config_file: str | None) -> Path:
        """Where the processes of a sandbox stand; config_file is the sandbox's option of that name."""
        return self.processes / (config_file or f"{sandbox}.yaml")
