"""Digests of the project's files, remembered between runs.

An entry is believed only when device, inode, size, mtime and ctime all agree and both times lie at least two seconds
before the digest was taken: a file changed later within the same tick of the clock would look the same. The cache may
be deleted at any moment; whatever is wrong with it, it is ignored.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from manor.vagga.durable import write_atomic

SETTLED_NS: Final = 2_000_000_000
ENTRIES_MAX: Final = 200_000
BLOCK_BYTES: Final = 1 << 20
DIGEST_BYTES: Final = 32


class _Known(msgspec.Struct, array_like=True, frozen=True, gc=False):
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: bytes


class DigestCache:
    """Digests by path. `save` writes back what was learnt."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, _Known] | None = None
        self._learnt: dict[str, _Known] = {}

    def digest(self, path: Path, status: os.stat_result) -> bytes:
        """BLAKE2b (32 bytes) of a regular file's content, `status` being its lstat."""
        if self._known is None:
            self._known = self._read()
        name = str(path)
        known = self._known.get(name)
        if known is not None and known == _Known(*_identity(status), known.digest):
            return known.digest
        began_ns = time.time_ns()
        digest, seen = _digest_of(path)
        if _identity(seen) == _identity(status) and max(seen.st_mtime_ns, seen.st_ctime_ns) + SETTLED_NS <= began_ns:
            self._learnt[name] = _Known(*_identity(seen), digest)
        return digest

    def save(self) -> None:
        """Write the cache if something was learnt. A place that cannot be written is no error."""
        if not self._learnt or self._file is None:
            return
        merged = {**self._read(), **self._learnt}
        while len(merged) > ENTRIES_MAX:
            merged.pop(next(iter(merged)))
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, msgspec.msgpack.encode(merged))
        except OSError:
            return  # the next run reads the files again
        self._known, self._learnt = merged, {}

    def _read(self) -> dict[str, _Known]:
        if self._file is None:
            return {}
        try:
            return msgspec.msgpack.decode(self._file.read_bytes(), type=dict[str, _Known])
        except (OSError, msgspec.MsgspecError):
            return {}


def _identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest_of(path: Path) -> tuple[bytes, os.stat_result]:
    """The digest, and what the file was while it was read."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
        return hasher.digest(), os.fstat(file.fileno())
