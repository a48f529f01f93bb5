"""Every time of the election in one place, with how they depend on each other."""

from __future__ import annotations

import random
from dataclasses import dataclass

from manor.config.errors import ManorError

EPOCH_MAX = 2**62  # beyond it a packet is nonsense: 4 elections a second reach it in 36 billion years
EVENTS_KEPT = 50  # changes of state a node shows; an election needs two or three


class NumbersContradict(ManorError):
    """`election.sticky` 5s is not below `election.message-timeout` 1.6s; a follower would never vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionNumbers:
    """Seconds. A pair is the range of a uniform draw, anew each time."""

    start_timeout_s: float = 5.0  # plus a message time-out: silence after start before standing
    message_timeout_s: tuple[float, float] = (1.6, 4.0)  # Follower and Voted wait this long for their leader
    heartbeat_s: float = 0.5
    election_timeout_s: tuple[float, float] = (0.5, 1.0)  # drawn, so that two candidates do not tie for ever
    election_timeout_max_s: float = 8.0  # doubled from the fourth election in a row: a lonely node does not shout
    sticky_s: float = 1.2  # a follower that heard its leader so lately ignores newer votes
    quorum_window_s: float = 1.6  # pongs not older make a leader's quorum fresh
    quorum_lost_s: float = 8.0  # a leader without quorum that long steps down
    overslept_s: float = 4.0  # a leader whose timer fires that late steps down without pinging
    resign_penalty_s: float = 60.0
    resign_penalty_max_s: float = 900.0

    def __post_init__(self) -> None:
        """The times only work together; whoever changes one learns here what it breaks."""
        shortest_wait_s = self.message_timeout_s[0]
        rules = (
            (2 * self.heartbeat_s < self.sticky_s, "`heartbeat` must be less than half of `sticky`"),
            (self.sticky_s < shortest_wait_s, "`sticky` must be below the shortest `message-timeout`"),
            (3 * self.heartbeat_s < self.quorum_window_s, "`quorum-window` must hold three heartbeats"),
            (self.quorum_window_s < self.quorum_lost_s, "`quorum-window` must be below `quorum-lost`"),
            (self.heartbeat_s < self.overslept_s, "`overslept` must be above `heartbeat`"),
            (self.message_timeout_s[0] <= self.message_timeout_s[1], "`message-timeout` must rise"),
            (self.election_timeout_s[0] <= self.election_timeout_s[1], "`election-timeout` must rise"),
            (self.heartbeat_s > 0, "`heartbeat` must be above zero"),
        )
        for holds, text in rules:
            if not holds:
                raise NumbersContradict(f"election: {text}")

    def draw_message_timeout(self, rng: random.Random) -> float:
        return rng.uniform(*self.message_timeout_s)

    def draw_election_timeout(self, rng: random.Random, in_a_row: int) -> float:
        """Longer from the fourth election in a row on, doubling up to the limit."""
        timeout_s = rng.uniform(*self.election_timeout_s)
        doublings = min(max(0, in_a_row - 3), 16)
        return float(min(timeout_s * 2**doublings, max(self.election_timeout_max_s, timeout_s)))
