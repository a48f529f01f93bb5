"""status.json kept up to date: rewritten at each change, at most ten times a second, the last change included."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from manor.lithos.files.status import InstanceStatus, MasterStatus

WRITE_EVERY_S: Final = 0.1


class StatusPublisher:
    """Offer the statuses after every event; writing is done here when it is time."""

    def __init__(self, path: Path, boot_id: str, on_error: Callable[[str], None]) -> None:
        self._path = path
        self._boot_id = boot_id
        self._on_error = on_error
        self._written: tuple[InstanceStatus, ...] | None = None
        self._pending: tuple[InstanceStatus, ...] = ()
        self._last_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, statuses: tuple[InstanceStatus, ...]) -> None:
        self._pending = statuses
        if self._timer is not None or statuses == self._written:
            return
        loop = asyncio.get_running_loop()
        wait_s = self._last_at + WRITE_EVERY_S - loop.time()
        if wait_s <= 0:
            self._write()
        else:
            self._timer = loop.call_later(wait_s, self._write)

    def flush(self) -> None:
        """What is pending now, at once."""
        if self._pending != self._written:
            self._write()

    def remove(self) -> None:
        self._stop_timer()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._stop_timer()
        self._last_at = asyncio.get_running_loop().time()
        self._written = self._pending
        status = MasterStatus(
            written=time.time_ns() // 1_000_000,
            boot_id=self._boot_id,
            master=os.getpid(),
            instances=self._pending,
        )
        try:
            write_status(self._path, status)
        except OSError as error:
            self._on_error(f"cannot write {self._path}: {error.strerror}")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def write_status(path: Path, status: MasterStatus) -> None:
    """A reader sees the old or the new file. Not synced: after a crash of the machine nothing of it is true."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(msgspec.json.encode(status) + b"\n")
    temporary.chmod(0o644)
    temporary.rename(path)
