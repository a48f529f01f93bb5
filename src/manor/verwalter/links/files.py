"""Directories that people and deliveries change while the daemon runs: noticed by looking, acted upon when quiet.

Looking means stat(2) of everything, so a tree that takes long to walk is looked at less often.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 0.5
LOOK_SHARE: Final = 20  # a look may take one twentieth of the time between looks
ACT_AT_LATEST_S: Final = 10.0  # after the first of changes that do not end
DEPTH_MAX: Final = 16


async def watch(directory: Path, act: Callable[[], Awaitable[None]]) -> None:
    """Call `act` after changes below `directory`, once nothing has changed from one look to the next."""
    seen = acted = await asyncio.to_thread(signature, directory)
    changed_at = None
    pause_s = LOOK_EVERY_S
    while True:
        await asyncio.sleep(pause_s)
        began = time.monotonic()
        found = await asyncio.to_thread(signature, directory)
        pause_s = max(LOOK_EVERY_S, LOOK_SHARE * (time.monotonic() - began))
        quiet, seen = found == seen, found
        if found == acted:
            changed_at = None
            continue
        changed_at = changed_at or began
        if quiet or began - changed_at >= ACT_AT_LATEST_S:
            acted, changed_at = found, None
            await act()


def signature(directory: Path) -> bytes:
    """Changes when anything below the directory does: names, sizes, times, what links point at."""
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, str(directory), depth=0)
    return digest.digest()


def _add(digest: hashlib.blake2b, directory: str, depth: int) -> None:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        digest.update(f"{error.errno}".encode())
        return
    for entry in entries:
        try:
            own, target = entry.stat(follow_symlinks=False), entry.stat()
        except OSError:  # removed meanwhile, or a link to nothing
            digest.update(f"{entry.name}\0?".encode(errors="surrogateescape"))
            continue
        facts = (own.st_mtime_ns, own.st_ino, target.st_mtime_ns, target.st_ino, target.st_size, target.st_mode)
        digest.update(f"{entry.name}\0{facts}".encode(errors="surrogateescape"))
        if depth < DEPTH_MAX and entry.is_dir():
            _add(digest, entry.path, depth + 1)
