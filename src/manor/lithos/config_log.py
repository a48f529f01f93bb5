"""The history of processes files: one line each time a master reads one, so that old images can be told from used."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from manor.lithos.files.processes import ProcessEntry, config_log_document

ROTATE_ABOVE_BYTES: Final = 10_485_760
KEPT: Final = 100


def append(directory: Path, sandbox: str, entries: Mapping[str, ProcessEntry]) -> None:
    """Rotate if need be, then one line in a single write. Raises OSError."""
    path = directory / f"{sandbox}.log"
    if path.exists() and path.stat().st_size > ROTATE_ABOVE_BYTES:
        rotate(path)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = f"{stamp} {config_log_document(entries)}\n".encode()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def rotate(path: Path) -> None:
    """The file becomes `.1`, `.1` becomes `.2`, ...; `.100` goes."""
    path.with_name(f"{path.name}.{KEPT}").unlink(missing_ok=True)
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))
