"""Paths that belong to somebody else's root, looked up so that no symbolic link or `..` leads out of it.

The kernel does the looking up (openat2, Linux 5.6): a check of our own could be overtaken by a rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.kernel import syscalls

# linux/openat2.h
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_IN_ROOT: Final = 0x10

RETRIES_MAX: Final = 128  # EAGAIN: a rename elsewhere on the machine disturbed the lookup (openat2(2))

Root = int | str | Path  # a directory: its descriptor or its path


class _OpenHow(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("flags", "mode", "resolve"))


def open_inside(root: Root, path: str | Path, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open as a process would that has `root` as its root: links are followed, `/` and `..` end at `root`.

    The descriptor is close-on-exec.
    """
    return _open(root, path, flags, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def open_beneath_no_symlinks(root: Root, path: str | Path, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open a relative path without any symbolic link in it (ELOOP) and without leaving `root` (EXDEV)."""
    return _open(root, path, flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)


def read_inside(root: Root, path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; EFBIG when it is longer, EINVAL for anything else.

    A pipe or device put in the place of a file neither blocks the reader nor is read.
    """
    fd = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        content = bytearray()
        while block := os.read(fd, limit + 1 - len(content)):
            content += block
        if len(content) > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
        return bytes(content)
    finally:
        os.close(fd)


def stat_inside(root: Root, path: str | Path, *, follow: bool = True) -> os.stat_result:
    """What is at the path; `follow` is about its last part only, links before it are always followed."""
    fd = open_inside(root, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def make_directories_inside(root: Root, path: str | Path, mode: int = 0o755) -> int:
    """Make the directories of a path that are missing, all with `mode`; a descriptor (O_PATH) of the last one."""
    words = [word for word in os.fspath(path).split("/") if word and word != "."]
    for length in range(1, len(words) + 1):
        with open_parent_inside(root, "/".join(words[:length])) as (parent, name), contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)
            os.chmod(name, mode, dir_fd=parent)  # whatever the umask is
    return open_inside(root, "/".join(words) or "/", os.O_PATH | os.O_DIRECTORY)


@contextlib.contextmanager
def open_parent_inside(root: Root, path: str | Path) -> Iterator[tuple[int, str]]:
    """The directory a path's last part is in, and that part: for mkdir, rename, unlink and symlink with `dir_fd`."""
    words = [word for word in os.fspath(path).split("/") if word and word != "."]
    if not words or words[-1] == "..":
        raise OSError(errno.EINVAL, "the path has no last part", os.fspath(path))
    fd = open_inside(root, "/".join(words[:-1]) or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd, words[-1]
    finally:
        os.close(fd)


def _open(root: Root, path: str | Path, flags: int, mode: int, resolve: int) -> int:
    if not isinstance(root, int):
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _open(root_fd, path, flags, mode, resolve)
        finally:
            os.close(root_fd)
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=resolve)
    arguments = (root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    for _ in range(RETRIES_MAX):
        try:
            return syscalls.syscall(syscalls.OPENAT2, *arguments, name=os.fspath(path))
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EINTR}:
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fspath(path))
