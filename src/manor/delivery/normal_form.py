"""What every delivered file looks like, on every node and by whichever way it came.

Mode 0755 for directories and executables, else 0644; owner root, or whoever receives where that is not root; times one
second after the epoch. Files of several images may be one file by hard links, so none of this may depend on the image.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.delivery.errors import ImageMalformed

TIME_NS: Final = 1_000_000_000
EXECUTABLE: Final = 0o755
PLAIN: Final = 0o644
COPY_SUFFIX: Final = ".manor-copy"


def normalise(root: Path) -> None:
    """Give a staged tree the normal form, its root last and apart: that stays private until it is whole.

    A file that has another name elsewhere is not touched but replaced by a copy of its own: the other name may be in
    an image that is in use.

    Raises:
        ImageMalformed: a device, socket or pipe, with its path.
    """
    owner = (0, 0) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    directories: list[str] = []
    for path, status in _walk(os.fspath(root)):
        if stat.S_ISDIR(status.st_mode):
            directories.append(path)
        elif stat.S_ISREG(status.st_mode):
            _normalise_file(path, status, owner)
        elif stat.S_ISLNK(status.st_mode):
            _own(path, status, owner)
            os.utime(path, ns=(TIME_NS, TIME_NS), follow_symlinks=False)
        else:
            raise ImageMalformed(f"{path}: only regular files, directories and symbolic links are delivered")
    for path in reversed(directories):
        _own(path, os.lstat(path), owner)
        os.utime(path, ns=(TIME_NS, TIME_NS))


def is_normal_file(status: os.stat_result, *, executable: bool) -> bool:
    """Does a file look as delivery left it?"""
    return (
        stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == (EXECUTABLE if executable else PLAIN)
        and status.st_mtime_ns == TIME_NS
    )


def _normalise_file(path: str, status: os.stat_result, owner: tuple[int, int]) -> None:
    mode = EXECUTABLE if status.st_mode & 0o111 else PLAIN
    if (
        stat.S_IMODE(status.st_mode) == mode
        and (status.st_uid, status.st_gid) == owner
        and status.st_mtime_ns == TIME_NS
    ):
        return
    if status.st_nlink > 1:
        copy = path + COPY_SUFFIX
        shutil.copyfile(path, copy)
        os.chmod(copy, stat.S_IMODE(status.st_mode))
        os.rename(copy, path)
        status = os.lstat(path)
    _own(path, status, owner)
    os.chmod(path, mode)
    os.utime(path, ns=(TIME_NS, TIME_NS))


def _own(path: str, status: os.stat_result, owner: tuple[int, int]) -> None:
    if (status.st_uid, status.st_gid) != owner:
        os.lchown(path, *owner)


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `root`, a directory before what is in it. Directories are made readable on the way."""
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        if directory != root:
            status = os.lstat(directory)
            if stat.S_IMODE(status.st_mode) != EXECUTABLE:
                os.chmod(directory, EXECUTABLE)
            yield directory, status
        for entry in sorted(os.listdir(directory)):
            path = os.path.join(directory, entry)
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            else:
                yield path, status
