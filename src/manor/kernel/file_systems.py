"""Whole file systems: what is written reaches the disk."""

from __future__ import annotations

import os
from pathlib import Path

from manor.kernel import syscalls


def sync_file_system(path: str | Path) -> None:
    """syncfs(2): everything written so far to the file system of the directory `path` is on the disk.

    For a tree of many files far cheaper than fsync of each, which waits for the journal once a file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.check(syscalls.libc.syncfs(fd), path)
    finally:
        os.close(fd)
