"""One hierarchy of control groups on disk: which directories there are, and which processes are in each.

The tree is listed again when the time of a directory has changed, and every few ticks anyway: the time has the
resolution of the kernel's tick, so two changes in one tick look like one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from manor.cantal.sources.cgroup_names import is_skipped
from manor.cantal.sources.kept_file import Descriptors, KeptFile

LISTED_EVERY = 5  # ticks
GROUPS_MAX = 20_000  # of one hierarchy; more is a leak somebody should hear of from elsewhere
DEPTH_MAX = 32

Components = tuple[str, ...]


class Tree:
    """One hierarchy. The root itself is not one of its groups."""

    def __init__(self, root: Path, fds: Descriptors, *, include_user_slice: bool) -> None:
        self.root = root
        self.groups: tuple[Components, ...] = ()
        self._fds = fds
        self._include_user_slice = include_user_slice
        self._times: dict[str, int] = {}
        self._listed_ago = LISTED_EVERY
        self._members: dict[Components, KeptFile] = {}

    def path(self, group: Components) -> str:
        return os.path.join(self.root, *group)

    def refresh(self) -> bool:
        """List the tree again if need be. True if its groups are other ones now."""
        self._listed_ago += 1
        if self._listed_ago < LISTED_EVERY and not self._is_changed():
            return False
        self._listed_ago = 0
        self._times = {}
        groups = tuple(self._walk())
        if groups == self.groups:
            return False
        for gone in set(self._members) - set(groups):
            self._members.pop(gone).close()
        for new in groups:
            if new not in self._members:
                self._members[new] = KeptFile(f"{self.path(new)}/cgroup.procs", self._fds)
        self.groups = groups
        return True

    def members(self) -> Iterator[tuple[Components, list[int]]]:
        """Pids directly in each group that has any."""
        for group, file in self._members.items():
            try:
                text = file.read()
            except OSError:  # ENODEV: removed meanwhile. ENOTSUP: a threaded group has no processes of its own
                continue
            if text:
                yield group, list(map(int, text.split()))

    def close(self) -> None:
        for file in self._members.values():
            file.close()
        self._members = {}

    def _is_changed(self) -> bool:
        try:
            return any(os.stat(path).st_mtime_ns != time for path, time in self._times.items())
        except FileNotFoundError:
            return True

    def _walk(self) -> Iterator[Components]:
        waiting: list[Components] = [()]
        found = 0
        while waiting and found < GROUPS_MAX:
            parent = waiting.pop()
            path = self.path(parent)
            try:
                self._times[path] = os.stat(path).st_mtime_ns
                with os.scandir(path) as entries:
                    names = sorted((e.name for e in entries if e.is_dir(follow_symlinks=False)), reverse=True)
            except FileNotFoundError:  # removed meanwhile
                continue
            for name in names:
                group = (*parent, name)
                if len(group) <= DEPTH_MAX and not is_skipped(group, include_user_slice=self._include_user_slice):
                    waiting.append(group)
            if parent:
                found += 1
                yield parent
