"""When a leader runs its scheduler: pure planning, told what happened and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AFTER_ACTION_S: Final = 0.2  # two clicks make one round
AFTER_CHANGE_S: Final = 0.2
BETWEEN_STARTS_S: Final = 1.0
AFTER_FAILURE_S: Final = 1.0
METRICS_BEFORE_S: Final = 1.0
CLOCK_BACK_MAX_MS: Final = 3_600_000


@dataclass(slots=True)
class RoundTimes:
    """The rounds of one leadership. `due_at` says when the next one starts; None while one runs."""

    interval_s: float
    next_at: float
    running: bool = False
    number: int = 0  # of rounds begun
    failing_since: float | None = None
    failures_in_row: int = 0
    _last_start: float = float("-inf")
    _woken_at: float = float("inf")  # during a round: the wish for the next one

    @property
    def due_at(self) -> float | None:
        return None if self.running else max(self.next_at, self._last_start + BETWEEN_STARTS_S)

    @property
    def metrics_at(self) -> float:
        """When to ask for the metrics of the next round."""
        return self.next_at - METRICS_BEFORE_S

    def wake(self, now: float, after_s: float = AFTER_CHANGE_S) -> None:
        """Something happened that a round should see soon."""
        if self.running:
            self._woken_at = min(self._woken_at, now + after_s)
        else:
            self.next_at = min(self.next_at, now + after_s)

    def starts(self, now: float) -> int:
        """A round begins; returns its number, from 1."""
        assert not self.running
        self.running, self._last_start, self._woken_at = True, now, float("inf")
        self.number += 1
        return self.number

    def succeeded(self, now: float, asked_in_s: float | None = None) -> None:
        """The round is over; the scheduler may have asked for the next one earlier than the interval."""
        self.failing_since, self.failures_in_row = None, 0
        self._ends(now, self.interval_s if asked_in_s is None else min(self.interval_s, max(0.0, asked_in_s)))

    def failed(self, now: float) -> None:
        self.failures_in_row += 1
        if self.failing_since is None:
            self.failing_since = now
        self._ends(now, AFTER_FAILURE_S)

    def failing_for(self, now: float) -> float:
        """Seconds since the first of an unbroken row of failed rounds."""
        return 0.0 if self.failing_since is None else now - self.failing_since

    def _ends(self, now: float, pause_s: float) -> None:
        self.running = False
        self.next_at = min(now + pause_s, max(now, self._woken_at))


@dataclass(slots=True)
class RoundClock:
    """The wall clock of rounds, which never goes back within a leadership."""

    last_ms: int = 0
    behind: bool = False  # the wall clock was set back by more than an hour: believed, and to be reported

    def read(self, wall_ms: int) -> int:
        self.behind = self.last_ms - wall_ms > CLOCK_BACK_MAX_MS
        self.last_ms = wall_ms if self.behind else max(wall_ms, self.last_ms)
        return self.last_ms
