"""When to measure: at multiples of the interval of the wall clock, whatever somebody does to that clock.

A tick's time is the multiple its pass started at; times are strictly increasing. The clock since boot tells whether
the wall clock was set: their difference then jumps. No input or output, no clock of its own.
"""

from __future__ import annotations

from typing import Final

DRIFT_MS: Final = 250  # between two looks; more is no drift but a step (adjtimex slews by half a ms a second)
WAITED_OUT_MS: Final = 10_000  # after a step back of at most this, ticks wait until the time has caught up


class TickClock:
    """The rhythm of one collector. Times in ms."""

    def __init__(self, interval_ms: int, last_tick: int = 0) -> None:
        self.interval_ms = interval_ms
        self.last_tick = last_tick  # the newest tick there is, 0 if none
        self.skipped = 0  # starts that were missed because a pass took longer than the interval
        self._difference: int | None = None  # wall clock - boot clock
        self._begun = False

    def observe(self, wall: int, boot: int) -> int:
        """Look at both clocks. The step by which all stored ticks are to be moved now; mostly 0.

        A small step back is waited out, a small one forward leaves a gap: no tick is moved for them.
        """
        difference = wall - boot
        step = 0 if self._difference is None else difference - self._difference
        self._difference = difference
        if abs(step) <= max(DRIFT_MS, WAITED_OUT_MS):
            return 0
        if self.last_tick:
            self.last_tick += step
        return step

    def due(self, wall: int) -> int:
        """When the next pass starts (a multiple of the interval): now, if it is at most `wall`."""
        earliest = (self.last_tick // self.interval_ms + 1) * self.interval_ms
        if not self._begun:
            return max(earliest, -(-wall // self.interval_ms) * self.interval_ms)
        return max(earliest, wall // self.interval_ms * self.interval_ms)

    def started(self, tick: int) -> None:
        """A pass starts for this tick."""
        if self._begun:
            self.skipped += max(0, (tick - self.last_tick) // self.interval_ms - 1)
        self._begun = True
        self.last_tick = tick
