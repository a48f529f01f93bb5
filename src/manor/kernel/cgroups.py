"""Control groups of all three layouts: v1, v2, and hybrid (controllers in v1, an empty v2 beside them).

A group is named by its path below the root of every hierarchy, `/lithos.slice/shop:web.0.scope`, the same in each.
Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from manor.kernel import mounts

KILL_WITHIN_S: Final = 10.0  # how long killed processes may take to vanish; one in uninterruptible sleep may never
KILL_POLL_S: Final = 0.01

# What v2 calls the controllers of v1; the named hierarchy, which only groups, is the hierarchy itself there.
_ALIASES: Final = {"cpuacct": "cpu", "blkio": "io"}

# Mount options of a v1 hierarchy that are controllers; the rest are `rw`, `xattr`, `release_agent=...` and such.
_V1_CONTROLLERS: Final = frozenset(
    """
    cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb rdma misc debug
    """.split()  # noqa: SIM905 (a list of fifteen words reads better as words)
)


class Kind(Enum):
    """How the host has its controllers mounted."""

    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy; with `fstype` and `options` it can be mounted anew, in another cgroup namespace."""

    path: Path
    fstype: str  # `cgroup` (v1) or `cgroup2`
    options: str  # `cpu,cpuacct`, `none,name=systemd`; empty for v2
    controllers: tuple[str, ...]  # as in mount options: `cpu`, `name=systemd`; of v2 those it really has

    @property
    def is_v2(self) -> bool:
        return self.fstype == "cgroup2"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the hierarchies are mounted, as a process sees them."""

    mounted: tuple[Hierarchy, ...]

    @property
    def kind(self) -> Kind:
        versions = {hierarchy.is_v2 for hierarchy in self.mounted}
        return Kind.HYBRID if len(versions) == 2 else Kind.V2 if True in versions else Kind.V1

    @property
    def controllers(self) -> dict[str, Path]:
        """The hierarchy of each controller by name, and of a named one by `name=NAME`."""
        return {name: hierarchy.path for hierarchy in self.mounted for name in hierarchy.controllers}

    @property
    def hierarchies(self) -> tuple[Path, ...]:
        """Where each hierarchy is mounted."""
        return tuple(hierarchy.path for hierarchy in self.mounted)

    @property
    def unified(self) -> Path | None:
        """The mount of v2; in a hybrid layout it has no controller."""
        return next((hierarchy.path for hierarchy in self.mounted if hierarchy.is_v2), None)

    def hierarchy(self, controller: str) -> Path | None:
        """Where a controller is, by its name of v1 or v2; `name` is the hierarchy that only groups processes."""
        known = self.controllers
        if controller == "name":
            return next((path for name, path in known.items() if name.startswith("name=")), self.unified)
        return known.get(controller) or (known.get(_ALIASES.get(controller, "")) if self.kind is Kind.V2 else None)


def layout(pid: int | str = "self") -> Layout:
    """The layout that a process sees. Raises FileNotFoundError when no cgroup hierarchy is mounted."""
    found = parse_layout(mounts.read_mounts(pid))
    if not found.mounted:
        raise FileNotFoundError(errno.ENOENT, "no cgroup hierarchy is mounted", "/sys/fs/cgroup")
    return Layout(tuple(_with_v2_controllers(hierarchy) for hierarchy in found.mounted))


def _with_v2_controllers(hierarchy: Hierarchy) -> Hierarchy:
    if not hierarchy.is_v2:
        return hierarchy
    names = (hierarchy.path / "cgroup.controllers").read_text().split()
    return replace(hierarchy, controllers=tuple(names))


def parse_layout(mounted: Iterable[mounts.Mount]) -> Layout:
    """What a table of mounts says. One hierarchy mounted twice is told once; the controllers of v2 are not in it."""
    found: dict[str, Hierarchy] = {}
    for one in mounted:
        if one.fstype == "cgroup2":
            found.setdefault(one.device, Hierarchy(Path(one.target), one.fstype, "", ()))
        elif one.fstype == "cgroup":
            names = tuple(o for o in one.super_options if o in _V1_CONTROLLERS or o.startswith("name="))
            only_named = all(name.startswith("name=") for name in names)
            options = ",".join(["none", *names] if only_named else names)
            found.setdefault(one.device, Hierarchy(Path(one.target), one.fstype, options, names))
    return Layout(tuple(found.values()))


def join(path: str, controllers: Iterable[str] | None = None, pid: int = 0, *, at: Layout | None = None) -> None:
    """Make the group where it is missing and move a process (0: ourselves) into it.

    In the hierarchies of these controllers, else in all; controllers that the host does not have are passed over.
    """
    at = at or layout()
    wanted = at.hierarchies if controllers is None else map(at.hierarchy, controllers)
    for hierarchy in dict.fromkeys(h for h in wanted if h is not None):
        group = _group(hierarchy, path)
        _make(hierarchy, group)
        (group / "cgroup.procs").write_text(str(pid))


def _make(hierarchy: Path, group: Path) -> None:
    for one in [*reversed(group.parents), group]:
        if one == hierarchy or hierarchy not in one.parents:
            continue
        with contextlib.suppress(FileExistsError):
            one.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: a new group has none, and nothing may join it before it has
            file = one / name
            if file.exists() and not (one / "cgroup.controllers").exists() and not file.read_text().strip():
                file.write_text((one.parent / name).read_text())


def processes(path: str, *, recursive: bool = False, at: Layout | None = None) -> list[int]:
    """Pids in the group (and in those below it), in any hierarchy; empty when there is no such group."""
    found: set[int] = set()
    for hierarchy in (at or layout()).hierarchies:
        own = _group(hierarchy, path)
        for group in _groups_below(own) if recursive else [own]:
            with contextlib.suppress(OSError):  # removed meanwhile: ENOENT or ENODEV
                found.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return sorted(found - {0})  # 0: a process of another pid namespace


def remove(path: str, *, at: Layout | None = None) -> None:
    """Remove the group and those below it from every hierarchy, as far as they exist. Kills nothing.

    Raises OSError (EBUSY) when there are processes in it.
    """
    for hierarchy in (at or layout()).hierarchies:
        for group in _groups_below(_group(hierarchy, path)):
            with contextlib.suppress(FileNotFoundError):
                group.rmdir()


def kill_all(path: str, *, within_s: float = KILL_WITHIN_S, at: Layout | None = None) -> bool:
    """Kill every process of the group and of those below it until none is left; False when some outlive `within_s`."""
    at = at or layout()
    deadline = time.monotonic() + within_s
    while pids := processes(path, recursive=True, at=at):
        if time.monotonic() >= deadline:
            return False
        if not _kill_v2(path, at):
            for pid in pids:
                _kill_member(path, pid)
        time.sleep(KILL_POLL_S)
    return True


def _kill_v2(path: str, at: Layout) -> bool:
    """The kernel's own way, at once and with all that is being forked; only where everything is in v2."""
    if at.kind is not Kind.V2 or at.unified is None:
        return False
    try:
        (_group(at.unified, path) / "cgroup.kill").write_text("1")
    except OSError:  # before Linux 5.14, or the group is gone
        return False
    return True


def _kill_member(path: str, pid: int) -> None:
    """The pid may by now be another process: hold it first, then look whether it is still in the group."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if any(_is_below(group, path) for group in groups_of(pid).values()):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):  # ended meanwhile
        pass
    finally:
        os.close(pidfd)


def groups_of(pid: int | str = "self") -> dict[str, str]:
    """The group of a process per hierarchy, `cpu,cpuacct` -> `/path`; v2 has the key `""`. Source: cgroups(7)."""
    result = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape").splitlines():
        _number, controllers, path = line.split(":", 2)
        result[controllers] = path
    return result


def _is_below(group: str, path: str) -> bool:
    return group == path or group.startswith(path.rstrip("/") + "/")


def _group(hierarchy: Path, path: str) -> Path:
    """The directory of a group; a path that names a root or leaves it is a mistake of the caller."""
    words = [word for word in path.split("/") if word]
    if not words or ".." in words or "." in words:
        raise ValueError(f"`{path}` is not the path of a control group; write one such as `/lithos.slice`")
    return hierarchy.joinpath(*words)


def _groups_below(group: Path) -> Iterator[Path]:
    """The group's directories, the deepest first."""
    for directory, _names, _files in os.walk(group, topdown=False):
        yield Path(directory)
