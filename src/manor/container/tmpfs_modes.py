"""Modes of a created container's tmpfs mounts: runc 1.1 gives each the mode of the directory it covers.

Call this between `create` and `start`: the mounts are there, and the container's program does not run yet.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from manor.kernel import inside


def set_tmpfs_modes(pid: int, modes: Iterable[tuple[str, int]]) -> None:
    """Give each mount point (a path inside) its mode, as seen by the container's first process."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for mount_point, mode in modes:
            _set_mode(root, mount_point, mode)
    finally:
        os.close(root)


def _set_mode(root: int, mount_point: str, mode: int) -> None:
    fd = inside.open_inside(root, mount_point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
