"""How full the local file systems are: statvfs of each, one a device. Source: proc_pid_mountinfo(5), statvfs(3)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from manor.cantal.sources.file_source import integer
from manor.cantal.store.series import Series
from manor.kernel.mounts import Mount

METRICS = ("fs.total", "fs.free", "fs.available", "fs.files", "fs.files_free")


class FileSystem(NamedTuple):
    """What is worth asking about."""

    mount: str
    device: str


def real_ones(mounts: Iterable[Mount], is_ignored: Callable[[str], bool]) -> list[FileSystem]:
    """Those that have a block device of their own, the first mount of each: no tmpfs, overlay, network or FUSE."""
    found: dict[str, FileSystem] = {}
    for mount in mounts:
        if mount.source.startswith("/dev/") and not mount.fstype.startswith("fuse") and not is_ignored(mount.target):
            found.setdefault(mount.source, FileSystem(mount.target, mount.source.removeprefix("/dev/")))
    return list(found.values())


def series(one: FileSystem) -> list[Series]:
    return [integer(metric, mount=one.mount, device=one.device) for metric in METRICS]


def numbers(facts: os.statvfs_result) -> list[int]:
    size = facts.f_frsize
    return [facts.f_blocks * size, facts.f_bfree * size, facts.f_bavail * size, facts.f_files, facts.f_ffree]
