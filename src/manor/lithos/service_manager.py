"""What the service manager above us is told (sd_notify(3)). The containers never see these variables."""

from __future__ import annotations

import os
import socket
import time


def notify(*assignments: str) -> None:
    """Send `READY=1` and the like; without NOTIFY_SOCKET, or when nobody listens, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(name)
            sender.send("\n".join(assignments).encode())
        except OSError:
            pass  # a service manager that is gone must not stop the supervision


def notify_reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """How often to send WATCHDOG=1: half of what is asked for; None when nobody asks."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000
