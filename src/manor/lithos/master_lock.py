"""master.pid: one master per runtime-dir. The lock, not the pid in the file, says whether one lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from manor.lithos.errors import Fatal


class MasterLock:
    """Held from start to end, over in-place restarts too."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> MasterLock:
        """Raises Fatal when another master holds it."""
        fd = _inherited(path)
        if fd is None:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.set_inheritable(fd, False)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise Fatal(f"another lithos_tree (pid {pid}) is running") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(path, fd)

    def let_inherit(self) -> None:
        os.set_inheritable(self._fd, True)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def running_master(path: Path) -> int | None:
    """The pid of the master that holds the lock; None when there is none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else None
    finally:
        os.close(fd)
    return None


def _inherited(path: Path) -> int | None:
    """The descriptor this process had before it executed itself: a new one could not get the lock that it holds."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return None
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            found = os.fstat(fd)
        except OSError:
            continue  # the descriptor of the listing itself
        if fd > 2 and (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return fd
    return None
