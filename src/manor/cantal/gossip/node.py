"""What all parts of one node share: who it is, whom it knows, what it saw, and its timers."""

from __future__ import annotations

import random
from dataclasses import dataclass

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.members import Members
from manor.cantal.gossip.messages import STATE_MASK, Record, Report, State, rank_of
from manor.cantal.gossip.numbers import GossipNumbers
from manor.cantal.gossip.observations import Hearsay, Observation
from manor.cantal.gossip.turn import Timers

ALIVE = int(State.ALIVE)


@dataclass(slots=True)
class Counts:
    """How often what happened, since the start."""

    foreign_cluster: int = 0
    repeated: int = 0
    refused: int = 0  # claims beyond what is believable, members beyond the table
    duplicate_id: int = 0
    suspicions_raised: int = 0
    deaths_declared: int = 0
    accused: int = 0
    voided: int = 0  # ticks that came so late that nobody was accused


class Node:
    """The state; the rules are in the parts around it."""

    def __init__(
        self,
        record: Record,
        cluster: str,
        *,
        now: float,
        wall_ms: int,
        rng: random.Random,
        numbers: GossipNumbers,
        members: Members,
    ) -> None:
        self.record = record
        self.cluster = cluster
        self.start = record.incarnation  # of this process; the record's may rise
        self.members = members
        self.observations: dict[bytes, Observation] = {}
        self.hearsay: dict[bytes, Hearsay] = {}
        self.bad_links: dict[bytes, Observation] = {}  # members reached through others only, not long ago
        self.report = Report()
        self.health = 0  # 0 is best: how much longer we wait before we accuse others
        self.counts = Counts()
        self.numbers = numbers
        self.rng = rng
        self.timers = Timers()
        self._wall_minus_now_ms = wall_ms - int(now * 1000)

    @property
    def own_rank(self) -> int:
        return rank_of(self.record.incarnation, State.ALIVE)

    def feel_worse(self) -> None:
        self.health = min(self.health + 1, bounds.HEALTH_MAX)

    def feel_better(self) -> None:
        self.health = max(self.health - 1, 0)

    def observe(self, member: bytes) -> Observation | None:
        """What we saw of a member; None if there is no room for one more."""
        seen = self.observations.get(member)
        if seen is None:
            if len(self.observations) >= bounds.MEMBERS_MAX:
                self.counts.refused += 1
                return None
            seen = self.observations[member] = Observation()
        return seen

    def state(self, member: bytes) -> int | None:
        slot = self.members.slot(member)
        return self.members.ranks[slot] & STATE_MASK if slot is not None else None

    def is_available(self, member: bytes) -> bool:
        return self.state(member) in (State.ALIVE, State.SUSPECT)

    def address_of(self, member: bytes) -> str | None:
        """Where it answered last, else the first address it gives; None for strangers."""
        seen = self.observations.get(member)
        if seen is not None and seen.primary is not None:
            return seen.primary
        slot = self.members.slot(member)
        if slot is None:
            return None
        record: Record = self.members.records[slot]
        return record.addresses[0] if record.addresses else None

    def member_at(self, address: str) -> bytes | None:
        """The available member that answered at this address."""
        for member, seen in self.observations.items():
            if seen.primary == address and self.is_available(member):
                return member
        return None

    def random_alive(self, count: int, *, without: bytes | None = None) -> list[bytes]:
        """So many different members that are alive, or as many as there are."""
        members, random_ = self.members, self.rng.random
        ring, ranks, ids = members.ring, members.ranks, members.directory.ids
        size, alive = len(ring), members.counts[State.ALIVE]
        found: list[bytes] = []
        if alive > 2 * count:  # a few draws will do
            for _ in range(4 * count):
                slot = ring[int(random_() * size)]
                member = ids[slot]
                if ranks[slot] & STATE_MASK == ALIVE and member != without and member not in found:
                    found.append(member)
                    if len(found) == count:
                        return found
        if alive:
            start = int(random_() * size)
            for step in range(size):
                slot = ring[(start + step) % size]
                member = ids[slot]
                if ranks[slot] & STATE_MASK == ALIVE and member != without and member not in found:
                    found.append(member)
                    if len(found) == count:
                        break
        return found

    def believes(self, incarnation: int, now: float) -> bool:
        """Incarnations begin as milliseconds since 1970; one from far in the future would never be overridden."""
        return incarnation <= self._wall_minus_now_ms + now * 1000 + bounds.INCARNATION_AHEAD_MS_MAX

    def retransmissions(self) -> int:
        return self.numbers.retransmissions(len(self.members))
