"""The newest State of every source that has one: what is being done, since when. No history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from manor.cantal.store.keys import Key
from manor.cantal.store.series import Condition

KEPT_AFTER_LAST_SEEN_MS = 60_000  # a process that died a moment ago can still be asked what it did


class StateSample(NamedTuple):
    """A State as it was read. `since` 0 means: in no state now, the text is a leftover of the last one."""

    key: Key
    since: int  # ms since 1970
    text: str
    seen_at: int  # the tick that last saw it


class States:
    """Newest State by key."""

    def __init__(self) -> None:
        self._newest: dict[Key, StateSample] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def update(self, samples: Iterable[StateSample], now: int) -> None:
        """What this tick saw; forgets what was last seen too long ago. Replaces the table, readers keep the old."""
        newest = {k: s for k, s in self._newest.items() if now - s.seen_at <= KEPT_AFTER_LAST_SEEN_MS}
        for sample in samples:
            newest[sample.key] = sample
        self._newest = newest

    def shift(self, by_ms: int) -> None:
        """The wall clock was stepped: move the ticks, not the times the writers noted."""
        self._newest = {k: s._replace(seen_at=s.seen_at + by_ms) for k, s in self._newest.items()}

    def snapshot(self) -> dict[Key, StateSample]:
        return self._newest


def matching_states(states: Iterable[StateSample], condition: Condition) -> list[StateSample]:
    return [s for s in states if condition.matches(dict(s.key))]
