"""What one agent saw of one other with its own eyes. Made at the first direct contact, so most pairs have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from manor.cantal.gossip.messages import Direction, Report
from manor.cantal.gossip.numbers import REPLAY_WINDOW

_WINDOW_MASK = (1 << REPLAY_WINDOW) - 1


class Hearsay(NamedTuple):
    """The newest report of a member, directly or through others."""

    report: Report
    at: float
    via: bytes  # the member's own id if it told us itself
    roundtrip_ms: int | None = None  # between `via` and the member


@dataclass(slots=True)
class Observation:
    """Times are seconds on the owner's clock; 0.0 is never."""

    primary: str | None = None  # where it answered last
    probe_at: float = 0.0
    probe_address: str | None = None
    probes_sent: int = 0
    pings_received: int = 0
    pongs_received: int = 0
    direct_at: float = 0.0  # last direct report
    roundtrip_at: float = 0.0
    roundtrip_address: str | None = None
    roundtrip_ms: float = 0.0
    smoothed_s: float | None = None
    link: Direction | None = None  # set while it is reached through others only
    link_since: float = 0.0
    link_failed_at: float = 0.0
    start: int = 0  # of the process whose packets we accept
    answered_start: int = 0  # of the process that answered a ping of ours
    _newest: int = 0  # counter
    _seen: int = 0  # bit i: the packet `_newest - i` came

    def accepts(self, start: int, counter: int) -> bool:
        """Is the packet new? Packets of an older process, and those that came before, are not."""
        if start != self.start:
            if start < self.start:
                return False
            self.start, self._newest, self._seen = start, counter, 1
            return True
        ahead = counter - self._newest
        if ahead > 0:
            self._newest = counter
            self._seen = (self._seen << ahead | 1) & _WINDOW_MASK if ahead < REPLAY_WINDOW else 1
            return True
        bit = 1 << -ahead
        if -ahead >= REPLAY_WINDOW or self._seen & bit:
            return False
        self._seen |= bit
        return True

    def answered(self, *, address: str, sent_at: float, now: float) -> None:
        """A ping of ours to this address was answered."""
        took_s = now - sent_at
        self.pongs_received += 1
        self.primary = self.roundtrip_address = address
        self.roundtrip_at, self.roundtrip_ms = now, took_s * 1000
        self.smoothed_s = took_s if self.smoothed_s is None else self.smoothed_s * 0.875 + took_s * 0.125
        self.answered_start = self.start
        self.link = None

    def reached_indirectly(self, direction: Direction, now: float) -> None:
        if self.link is None:
            self.link_since = now
        self.link, self.link_failed_at = direction, now
