"""Reading and making files that nobody but their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from manor.trust.errors import TrustError

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private_file(path: Path, *, bytes_max: int, refused: type[TrustError]) -> bytes:
    """The content of a regular file of mode 0600 or stricter; `refused` in every other case.

    The mode is asked of the open descriptor: the file that is judged is the file that is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo must not hang us
    except OSError as error:
        raise refused(f"{path}:1:1: cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refused(f"{path}:1:1: is not a regular file")
        if status.st_mode & OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise refused(
                f"{path}:1:1: others may read or write it (mode {mode:04o}); `chmod 0600 {path}` would be right"
            )
        if status.st_size > bytes_max:
            raise refused(f"{path}:1:1: has {status.st_size} bytes; at most {bytes_max} are read")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(bytes_max)
    finally:
        os.close(descriptor)


def create_private_file(path: Path, content: bytes) -> None:
    """Make a file of mode 0600 that was not there; FileExistsError if it was, and then nothing changed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
