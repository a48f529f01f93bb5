"""Pulling the whole member table from a few members: ranges of ids, some pages in flight, each tried a few times."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from manor.cantal.gossip.messages import SyncPage, SyncRequest
from manor.cantal.gossip.numbers import (
    PULL_PAGES_IN_FLIGHT,
    PULL_RANGE_MEMBERS,
    PULL_RANGES_MAX,
    PULL_TIMEOUT_S,
    PULL_TRIES,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One page to ask for."""

    request: SyncRequest
    source: bytes  # member to ask first
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    wanted: Wanted
    source: bytes
    until: float


class TablePull:
    """One pull, from its start until every range has come or was given up."""

    def __init__(self, sources: Sequence[bytes], members: int, rng: random.Random) -> None:
        self._sources = sources
        self._rng = rng
        count = min(max(1, members // PULL_RANGE_MEMBERS), PULL_RANGES_MAX)
        edges = [(2**128 * part // count).to_bytes(17, "big")[1:] for part in range(count)]
        highs = [*edges[1:], b""]
        self._waiting = [
            Wanted(SyncRequest(low, high), sources[number % len(sources)])
            for number, (low, high) in enumerate(zip(edges, highs, strict=True))
        ]
        self._in_flight: dict[tuple[bytes, bytes], Asked] = {}

    @property
    def done(self) -> bool:
        return not self._waiting and not self._in_flight

    @property
    def next_timeout_at(self) -> float | None:
        return min((asked.until for asked in self._in_flight.values()), default=None)

    def ask(self, now: float) -> list[tuple[bytes, SyncRequest]]:
        """What to send now: member and request. Call after every page and when `next_timeout_at` has come."""
        for key, asked in list(self._in_flight.items()):
            if asked.until <= now:
                del self._in_flight[key]
                if asked.wanted.tries < PULL_TRIES:
                    self._waiting.append(asked.wanted)
        requests = []
        while self._waiting and len(self._in_flight) < PULL_PAGES_IN_FLIGHT:
            wanted = self._waiting.pop()
            source = wanted.source if wanted.tries == 0 else self._rng.choice(self._sources)
            again = Wanted(wanted.request, wanted.source, wanted.tries + 1)
            key = (wanted.request.cursor, wanted.request.high)
            self._in_flight[key] = Asked(again, source, now + PULL_TIMEOUT_S)
            requests.append((source, wanted.request))
        return requests

    def receive(self, page: SyncPage, sender: bytes) -> bool:
        """Was this page asked for? If there is more in its range, that is asked for next."""
        asked = self._in_flight.get((page.cursor, page.high))
        if asked is None or sender not in self._sources:
            return False
        del self._in_flight[page.cursor, page.high]
        if page.next_cursor and page.next_cursor > page.cursor:
            self._waiting.append(Wanted(SyncRequest(page.next_cursor, page.high), asked.wanted.source))
        return True
