"""Control groups: which process is in which, and the numbers the controllers keep of each.

Three layouts (cgroups(7)): v2, one tree with all controllers; v1, a tree for each controller and one that only
groups; hybrid, v1 beside a v2 tree that has no controllers. The layout is taken from the table of mounts, not from
fixed paths, and again when that table changes.
"""

from __future__ import annotations

import os
import select
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from manor.cantal.sources import cgroup_files
from manor.cantal.sources.cgroup_files import GroupFile
from manor.cantal.sources.cgroup_names import group_name, home_of
from manor.cantal.sources.cgroup_tree import Components, Tree
from manor.cantal.sources.feed import NO_SAMPLES, Feed, Samples, UnknownShape, together
from manor.cantal.sources.file_source import Facts, Reading, integer
from manor.cantal.sources.kept_file import Descriptors
from manor.cantal.store.series import Columns, Series, SeriesTable
from manor.kernel.cgroups import Kind, Layout, parse_layout
from manor.kernel.mounts import parse_mount

MEMBERSHIP_CONTROLLERS = ("memory", "cpu", "pids")  # asked for processes that are in the root of the first hierarchy
SERVICE_MANAGER = "name=systemd"


class GroupScan(NamedTuple):
    """What one pass found."""

    samples: Samples
    members: dict[int, str]  # pid -> group


@dataclass(slots=True)
class _Group:
    """What is kept open of one directory of one hierarchy."""

    feeds: list[tuple[Feed, int]]  # each with the ticks between two readings
    age: int = 0  # ticks it is known


class ControlGroups:
    """All hierarchies of one machine. One thread."""

    def __init__(
        self, proc_root: Path, sys_root: Path, facts: Facts, fds: Descriptors, *, include_user_slice: bool = False
    ) -> None:
        self.layout_name = "none"  # v1, v2, hybrid
        self.names: tuple[str, ...] = ()  # of the groups of the newest tick
        self.errors = 0  # files in a form not known
        self._proc_root = proc_root
        self._sys_root = sys_root
        self._facts = facts
        self._fds = fds
        self._include_user_slice = include_user_slice
        self._mounts = -1
        self._poll = select.poll()
        self._layout: Layout | None = None
        self._trees: dict[Path, Tree] = {}
        self._groups: dict[tuple[Path, Components], _Group] = {}
        self._counts: dict[str, Columns] = {}
        self._devices: dict[str, str] = {}

    def scan(self, table: SeriesTable) -> GroupScan:
        if self._mounts < 0 or self._mounts_changed():
            self._detect()
        for tree in self._trees.values():
            if tree.refresh():
                self._follow(tree)
        members = self._memberships()
        samples = [sample for group in self._groups.values() for sample in self._read_group(group, table)]
        samples.append(self._member_counts(members, table))
        return GroupScan(together(samples), members)

    # -- layout ------------------------------------------------------------------------------------------------

    def _mounts_changed(self) -> bool:
        return any(events & (select.POLLERR | select.POLLPRI) for _fd, events in self._poll.poll(0))

    def _detect(self) -> None:
        if self._mounts < 0:
            path = self._proc_root / "self" / "mountinfo"
            try:
                self._mounts = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return
            self._poll.register(self._mounts, select.POLLERR | select.POLLPRI)
        with open(self._mounts, "rb", closefd=False) as file:
            file.seek(0)
            lines = file.read().decode("utf-8", "surrogateescape").splitlines()
        layout = parse_layout(map(parse_mount, lines))
        if layout == self._layout:
            return
        self._layout = layout
        self.layout_name = layout.kind.value if layout else "none"
        for group in list(self._groups):
            self._drop(group)
        for tree in self._trees.values():
            tree.close()
        roots = layout.hierarchies if layout else ()
        self._trees = {
            root: Tree(self._seen_here(root), self._fds, include_user_slice=self._include_user_slice) for root in roots
        }

    def _seen_here(self, mount_point: Path) -> Path:
        """Where the host's /sys is for us."""
        try:
            return self._sys_root / mount_point.relative_to("/sys")
        except ValueError:
            return mount_point

    def _files_of(self, root: Path) -> list[GroupFile]:
        """The rows of the tables that apply to one hierarchy."""
        assert self._layout is not None
        if root == self._layout.unified:
            return list(cgroup_files.V2)
        here = {name for name, path in self._layout.controllers.items() if path == root}
        return [row for row in cgroup_files.V1 if row.controller in here]

    # -- membership --------------------------------------------------------------------------------------------

    def _memberships(self) -> dict[int, str]:
        if self._layout is None:
            return {}
        members: dict[int, str] = {}
        for root in _membership_order(self._layout):
            found: dict[int, str] = {}
            for group, pids in self._trees[root].members():
                home = home_of(group)
                if home:
                    found.update(dict.fromkeys(pids, group_name(home)))
            members = {**found, **members}
        members.pop(0, None)  # a process of a pid namespace that is not below ours
        return members

    def _member_counts(self, members: dict[int, str], table: SeriesTable) -> Samples:
        """`cgroup.processes` of every group, those without processes too."""
        counts = dict.fromkeys(self.names, 0)
        for name in members.values():
            counts[name] = counts.get(name, 0) + 1
        for name in counts.keys() - self._counts.keys():
            self._counts[name] = Columns([integer("cgroup.processes", cgroup=name)])
        ids = [self._counts[name].ids(table)[0] for name in counts]
        return Samples(np.array(ids, np.int32), np.array(list(counts.values()), np.uint64))

    # -- numbers -----------------------------------------------------------------------------------------------

    def _follow(self, tree: Tree) -> None:
        """Open what is new in a hierarchy, close what is gone."""
        root = next(path for path, known in self._trees.items() if known is tree)
        named = [group for group in tree.groups if home_of(group) is group]
        for place in [place for place in self._groups if place[0] == root and place[1] not in set(named)]:
            self._drop(place)
        rows = self._files_of(root)
        for group in named:
            if (root, group) not in self._groups:
                self._groups[root, group] = _Group(
                    [(self._feed(row, tree.path(group), group), row.every) for row in rows]
                )
        self.names = tuple(sorted({group_name(group) for _root, group in self._groups}))
        for name in self._counts.keys() - set(self.names):
            del self._counts[name]

    def _drop(self, place: tuple[Path, Components]) -> None:
        for feed, _every in self._groups.pop(place).feeds:
            feed.close()

    def _feed(self, row: GroupFile, directory: str, group: Components) -> Feed:
        def parse(texts: Sequence[bytes]) -> Reading:
            return row.parse(texts, self._facts)

        def series(shape: Hashable) -> Sequence[Series | None]:
            return row.series(shape, group_name(group), self._facts, self._device_name)

        return Feed([f"{directory}/{file}" for file in row.files], parse, series, self._fds)

    def _read_group(self, group: _Group, table: SeriesTable) -> list[Samples]:
        samples, there = [], []
        for feed, every in group.feeds:
            try:
                samples.append(feed.repeat(table) if group.age % every else self._read(feed, table))
                there.append((feed, every))
            except FileNotFoundError:  # this kernel has no such file, and will not get it while the group lives
                feed.close()
        group.feeds = there
        group.age += 1
        return samples

    def _read(self, feed: Feed, table: SeriesTable) -> Samples:
        try:
            return feed.read(table)
        except FileNotFoundError:
            raise  # for ever, unlike the others
        except OSError:  # the group is going, or the file does not work in its place (EOPNOTSUPP)
            return NO_SAMPLES
        except UnknownShape:
            self.errors += 1
            return NO_SAMPLES

    def _device_name(self, number: str) -> str:
        """`8:0` -> `sda`, by /proc/diskstats; the number itself if nobody knows it."""
        if number not in self._devices:
            try:
                rows = [line.split() for line in (self._proc_root / "diskstats").read_text().splitlines()]
            except OSError:
                rows = []
            self._devices = {f"{row[0]}:{row[1]}": row[2] for row in rows if len(row) > 3}
            self._devices.setdefault(number, number)
        return self._devices[number]


def _membership_order(layout: Layout) -> list[Path]:
    """The hierarchies that say which group a process is in, the one that counts first."""
    if layout.kind is Kind.V2:
        return [layout.unified] if layout.unified else []
    other_named = next((name for name in layout.controllers if name.startswith("name=")), "")
    first = (
        layout.controllers.get(SERVICE_MANAGER)
        or layout.controllers.get(other_named)
        or layout.unified
        or layout.controllers.get("cpuacct")
        or layout.controllers.get("cpu")
    )
    more = [layout.controllers.get(name) for name in MEMBERSHIP_CONTROLLERS]
    return list(dict.fromkeys(path for path in (first, *more) if path is not None))
