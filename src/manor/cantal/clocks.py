"""The two clocks of a machine, and waiting: the only place of the collector that knows real time."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clocks(Protocol):
    """What a collector asks. A test has its own."""

    def wall_ms(self) -> int: ...

    def boot_ms(self) -> int:
        """Since boot, suspended time too; nobody can set it."""
        ...

    def wait(self, until: threading.Event, ms: int) -> bool:
        """True if the event came."""
        ...


class RealClocks:
    """This machine's."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wait(self, until: threading.Event, ms: int) -> bool:
        return until.wait(ms / 1000)
