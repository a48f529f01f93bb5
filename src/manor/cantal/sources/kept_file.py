"""Files that stay open between ticks and are read again at offset 0: a third of the cost of opening them anew.

A kept descriptor of a dead process fails with ESRCH, so death is noticed without a race against pids used again.
"""

from __future__ import annotations

import os
import resource

READ_BYTES = 4096  # what most files of /proc fit in; longer ones are remembered
READ_BYTES_MAX = 1 << 20  # no file of the kernel that is read here comes near
KEPT_SHARE = 0.8  # of the limit on open files; the rest is for sockets, storage and everything that is opened briefly


class Descriptors:
    """How many descriptors may still be kept."""

    def __init__(self, kept_max: int | None = None) -> None:
        self.left = _raised_limit() if kept_max is None else kept_max

    def take(self, count: int = 1) -> bool:
        """False if there is no room: then the file is opened and closed each time."""
        if self.left < count:
            return False
        self.left -= count
        return True

    def give_back(self, count: int = 1) -> None:
        self.left += count


def _raised_limit() -> int:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return int(hard * KEPT_SHARE)


class KeptFile:
    """One file. `read` gives its present content or raises OSError (ESRCH, ENODEV when what it is about is gone)."""

    __slots__ = ("_descriptors", "_expected", "_fd", "path")

    def __init__(self, path: str, descriptors: Descriptors) -> None:
        self.path = path
        self._descriptors = descriptors
        self._fd = -1
        self._expected = READ_BYTES

    @property
    def is_kept(self) -> bool:
        return self._fd >= 0

    def read(self) -> bytes:
        if self._fd >= 0:
            return self._read(self._fd)
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        if self._descriptors.take():
            self._fd = fd
            return self._read(fd)
        try:
            return self._read(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._descriptors.give_back()

    def _read(self, fd: int) -> bytes:
        data = os.pread(fd, self._expected, 0)
        while len(data) == self._expected and self._expected < READ_BYTES_MAX:
            # a text made by the kernel may end at a line before the buffer is full, so ask until nothing comes
            self._expected *= 4
            data = os.pread(fd, self._expected, 0)
        return data
