"""The C library, called by the few functions of this room that Python has no name for."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# System calls newer than 5.1 have the same number on every architecture (asm-generic/unistd.h).
OPENAT2: Final = 437
PIDFD_GETFD: Final = 438
MOUNT_SETATTR: Final = 442

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def check(result: int, *names: str | os.PathLike[str]) -> int:
    """The result of a call that answers -1 on error; raises OSError with the kernel's word and at most two names."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    first = os.fspath(names[0]) if names else None
    second = os.fspath(names[1]) if len(names) > 1 else None
    raise OSError(number, os.strerror(number), first, None, second)


def syscall(number: int, *arguments: object, name: str | None = None) -> int:
    """A system call by number; Python integers are passed as 64 bits, `name` is the file an error speaks of."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(int(libc.syscall(ctypes.c_long(number), *wide)), *([name] if name else []))
