"""What a service manager is told (sd_notify(3)), and the thread that ends a daemon whose event loop hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from typing import Final

STUCK_STATUS: Final = 91
STUCK_AFTER_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0


def notify(message: str) -> None:
    """Send `READY=1` and the like where a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(message.encode(), address)  # nobody is helped by a daemon that fails because of this


class LoopWatch:
    """Ends the process with status 91 when the event loop has not run for 30 s."""

    def __init__(self) -> None:
        self._seen_at = time.monotonic()
        threading.Thread(target=self._look, name="loop-watch", daemon=True).start()

    async def run(self) -> None:
        """The part inside of the loop; it also feeds the service manager's watchdog."""
        while True:
            self._seen_at = time.monotonic()
            notify("WATCHDOG=1")
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        looked_at = time.monotonic()
        while True:
            time.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            if now - looked_at > 5 * LOOK_EVERY_S:
                self._seen_at = now  # the whole process was stopped: that is not the loop's fault
            looked_at = now
            if now - self._seen_at > STUCK_AFTER_S:
                print("verwalter: the event loop has not run for 30 s; ending with status 91", file=sys.stderr)
                os._exit(STUCK_STATUS)
