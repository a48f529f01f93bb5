"""What all containers of one master have in common on this machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.container.choice import RuntimeBinary, RuntimeNotFound, find_runtime
from manor.container.init import InitNotFound, find_init, is_own_init
from manor.container.runtime import Runtime
from manor.kernel import cgroups
from manor.lithos.errors import Fatal, NotFound
from manor.lithos.files.master import DEFAULT_DEVFS_DIR, NOT_GIVEN, MasterConfig, Places

RECURSIVE_READ_ONLY_SINCE: Final = (5, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Found once per start of a command."""

    places: Places
    runtime: Runtime
    init: Path
    devfs: Path | None  # None: each container gets a private tmpfs as /dev
    cgroup_name: str | None
    controllers: Collection[str]  # those whose limits are applied
    layout: cgroups.Layout | None
    swap_limit: bool
    recursive_read_only: bool

    @property
    def own_init(self) -> bool:
        return is_own_init(self.init)

    def cgroup_path(self, group: str) -> str | None:
        return None if self.cgroup_name is None else f"/{self.cgroup_name}/{group}"


def find_host(config: MasterConfig, places: Places) -> Host:
    """Raises Fatal, with exit status 127 when runtime or init are missing."""
    binary, init = find_programs(config, places.runtime)
    layout = _layout() if config.cgroup_name is not None else None
    return Host(
        places=places,
        runtime=Runtime(binary, places.oci, cgroup_manager="disabled" if config.cgroup_name is None else None),
        init=init,
        devfs=devfs_dir(config),
        cgroup_name=config.cgroup_name,
        controllers=_controllers(config, layout) if layout is not None else frozenset(),
        layout=layout,
        swap_limit=_has_swap_limit(layout),
        recursive_read_only=_kernel_version() >= RECURSIVE_READ_ONLY_SINCE,
    )


def find_programs(config: MasterConfig, cache_dir: Path) -> tuple[RuntimeBinary, Path]:
    """The OCI runtime and the init. Raises NotFound."""
    try:
        return find_runtime(config.oci_runtime, cache_dir=cache_dir), find_init(config.container_init)
    except (RuntimeNotFound, InitNotFound) as error:
        raise NotFound(str(error)) from error


def devfs_dir(config: MasterConfig) -> Path | None:
    """Raises Fatal when the directory is given and missing."""
    if config.devfs_dir is None:
        return None
    if config.devfs_dir == NOT_GIVEN:
        default = Path(DEFAULT_DEVFS_DIR)
        return default if default.is_dir() else None
    path = Path(config.devfs_dir)
    if not path.is_dir():
        raise Fatal(
            f"`devfs-dir` {path} is no directory; make it with `lithos_mkdev {path}`, or write `devfs-dir: null`"
        )
    return path


def missing_controllers(config: MasterConfig, layout: cgroups.Layout | None) -> list[str]:
    if layout is None:
        return []
    return [name for name in config.controllers if layout.hierarchy(name) is None]


def _controllers(config: MasterConfig, layout: cgroups.Layout | None) -> frozenset[str]:
    missing = missing_controllers(config, layout)
    if missing and config.cgroup_controllers:
        raise Fatal(
            f"`cgroup-controllers`: this host has no {', '.join(missing)}; mount the hierarchy or leave the name out"
        )
    return frozenset(config.controllers) - frozenset(missing)


def _layout() -> cgroups.Layout | None:
    try:
        return cgroups.layout()
    except FileNotFoundError as error:
        raise Fatal(f"{error.strerror}; mount the cgroups, or write `cgroup-name: null`") from error


def _has_swap_limit(layout: cgroups.Layout | None) -> bool:
    """v1 has the file only with swap accounting; v2 hides it in the root, so any group below is asked."""
    hierarchy = layout.hierarchy("memory") if layout is not None else None
    if layout is None or hierarchy is None:
        return False
    if layout.kind is cgroups.Kind.V2:
        return any(hierarchy.glob("*/memory.swap.max"))
    return (hierarchy / "memory.memsw.limit_in_bytes").exists()


def _kernel_version() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def require_root(program: str) -> None:
    """Raises Fatal for anybody else."""
    if os.geteuid() != 0:
        raise Fatal(f"{program} must run as root; use sudo")
