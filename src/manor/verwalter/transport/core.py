"""Which schedule this node has, which one it should have, and from whom it gets that: a machine without I/O.

Theory of operation. Every packet of an election carries the stamp of a schedule: a leader's Ping that of the one it
owns, everybody else's that of the last one they know. A new leader listens for a while, fetches what it did not know,
and begins its first round with all of these as parents. A follower fetches what its leader announces. A leader that
later hears of a schedule that is none of its forefathers (the other side of a healed partition) fetches it too, as a
late parent of its next round.

The machine is told what happened and when, and answers with actions; it is to be called again at `wake_at`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from manor.verwalter.election.messages import NodeId
from manor.verwalter.schedule import OWN_KEPT, Envelope, Shelf, Stamp, in_order, is_leftover, true_parents

LISTEN_AT_LEAST_S: Final = 1.5  # three pings: a lost one must not lose a parent
JOIN_AFTER_S: Final = 1.0  # a download that takes longer is joined by one from another holder
RETRY_S: Final = (0.1, 0.3)  # a holder that failed is left alone that long
SPREAD_S: Final = 0.5  # in large clusters followers do not all ask the leader at once
SPREAD_ABOVE_NODES: Final = 50
LATE_PARENTS_MAX: Final = 8  # in one round
LATE_TRIES: Final = 3
HOLDERS_MAX: Final = 32  # remembered for one hash; more would not make it easier to get
UNMERGED_TOLD: Final = 5  # pongs that name a schedule its leader did not descend from: one may get lost
UNMERGED_MAX: Final = 8
HASHES_MAX: Final = 64  # distinct schedules fetched by one new leader


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchNumbers:
    prefetch_min_s: float = 5.0
    prefetch_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask `source` for the schedule; then say `fetched` or `failed`."""

    hash: str
    source: NodeId


@dataclass(frozen=True, slots=True)
class Adopt:
    """This is the stable schedule now: write it if it is new here, and render it."""

    envelope: Envelope
    is_new: bool


@dataclass(frozen=True, slots=True)
class ParentsReady:
    """The leader may run its rounds. `missing` could not be fetched, `left_out` were forefathers or leftovers."""

    parents: tuple[Envelope, ...]
    left_out: tuple[str, ...]
    missing: tuple[tuple[str, tuple[NodeId, ...]], ...]


Action = Fetch | Adopt | ParentsReady


@dataclass(slots=True)
class _Wanted:
    """One schedule that is not here yet."""

    hash: str
    holders: list[NodeId]
    not_before: float  # of the next request
    running: dict[NodeId, float] = field(default_factory=dict)  # source -> asked at
    resting: dict[NodeId, float] = field(default_factory=dict)  # source that failed -> until
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Unstable:
    pass


@dataclass(frozen=True, slots=True)
class Prefetching:
    since: float
    expected: frozenset[NodeId]  # peers that should answer a ping
    heard: set[NodeId] = field(default_factory=set)
    graceful: bool = True


@dataclass(frozen=True, slots=True)
class StableLeader:
    pass


@dataclass(frozen=True, slots=True)
class Replicating:
    leader: NodeId
    target: Stamp | None = None


State = Unstable | Prefetching | StableLeader | Replicating


class Transport:
    """The schedules of one node."""

    def __init__(
        self,
        own_id: NodeId,
        rng: random.Random,
        last_known: Envelope | None = None,
        numbers: FetchNumbers | None = None,
    ) -> None:
        self.own_id = own_id
        self.last_known = last_known
        self.stable: Envelope | None = None
        self.owned: Envelope | None = None  # issued by this node in its present leadership
        self.state: State = Unstable()
        self.shelf = Shelf()
        self.nodes = 1  # size of the cluster, for the spread of downloads
        self._numbers = numbers or FetchNumbers()
        self._rng = rng
        self._wanted: dict[str, _Wanted] = {}
        self._collected: dict[str, Envelope] = {}
        self._late: dict[str, Envelope] = {}
        self._tried: set[str] = set()  # foreign hashes that had their chance in this leadership
        self._unmerged: deque[list[Stamp]] = deque(maxlen=UNMERGED_MAX)
        self._own_hashes: deque[tuple[str, int]] = deque(maxlen=OWN_KEPT)
        if last_known is not None:
            self.shelf.put(last_known)

    # What the outside tells.

    def leads(self, expected: Iterable[NodeId], now: float) -> list[Action]:
        """This node was elected; `expected` are the peers that respond."""
        self._forget()
        self.state = Prefetching(now, frozenset(expected))
        return self.tick(now)

    def follows(self, leader: NodeId, now: float) -> list[Action]:
        if isinstance(self.state, Replicating) and self.state.leader == leader:
            return []
        self._forget()
        self.state = Replicating(leader)
        return []

    def lost(self) -> None:
        """There is no leader."""
        if not isinstance(self.state, Unstable):
            self._forget()
            self.state = Unstable()

    def announced(self, leader: NodeId, stamp: Stamp | None, now: float) -> list[Action]:
        """The leader pinged, with the stamp of the schedule it owns."""
        state = self.state
        if not isinstance(state, Replicating) or state.leader != leader:
            return []
        if stamp is None or (state.target is not None and state.target.hash == stamp.hash):
            return self.tick(now)
        self.state = Replicating(leader, stamp)
        self._wanted.clear()
        if self.stable is not None and self.stable.hash == stamp.hash:
            return []
        if self.last_known is not None and self.last_known.hash == stamp.hash:
            self.stable = self.last_known
            return [Adopt(self.last_known, is_new=False)]
        self.stable = None
        spread_s = self._rng.uniform(0.0, SPREAD_S) if self.nodes > SPREAD_ABOVE_NODES else 0.0
        self._wanted[stamp.hash] = _Wanted(stamp.hash, [leader], now + spread_s)
        return self.tick(now)

    def ponged(self, peer: NodeId, stamp: Stamp | None, now: float) -> list[Action]:
        """A peer answered, with the stamp of the schedule it knows."""
        state = self.state
        if isinstance(state, Prefetching):
            state.heard.add(peer)
            if stamp is not None and self._is_foreign(stamp):
                self._want(stamp.hash, peer, now)
        elif isinstance(state, StableLeader) and stamp is not None and self._is_late_parent(stamp):
            self._want(stamp.hash, peer, now)
        elif isinstance(state, Replicating) and stamp is not None and stamp.hash in self._wanted:
            self._add_holder(self._wanted[stamp.hash], peer)
        else:
            return []
        return self.tick(now)

    def fetched(self, envelope: Envelope, source: NodeId, now: float) -> list[Action]:
        """A verified schedule came."""
        wanted = self._wanted.get(envelope.hash)
        if wanted is None:
            return []
        if isinstance(self.state, Replicating):
            if envelope.origin != self.state.leader:
                return self.failed(envelope.hash, source, now)
            del self._wanted[envelope.hash]
            self._note_unmerged(envelope)
            self._become_known(envelope)
            self.stable = envelope
            return [Adopt(envelope, is_new=True)]
        del self._wanted[envelope.hash]
        self.shelf.put(envelope)
        if isinstance(self.state, StableLeader):
            self._tried.add(envelope.hash)
            self._late[envelope.hash] = envelope
        else:
            self._collected[envelope.hash] = envelope
        return self.tick(now)

    def failed(self, hash: str, source: NodeId, now: float, holders: Iterable[NodeId] = ()) -> list[Action]:
        """A download failed; `holders` are others that the asked one named."""
        wanted = self._wanted.get(hash)
        if wanted is None or wanted.running.pop(source, None) is None:
            return []
        wanted.failures += 1
        wanted.resting[source] = now + self._rng.uniform(*RETRY_S)
        for holder in holders:
            self._add_holder(wanted, holder)
        if isinstance(self.state, StableLeader) and wanted.failures >= LATE_TRIES:
            self._tried.add(hash)
            del self._wanted[hash]
        return self.tick(now)

    def published(self, envelope: Envelope) -> list[Action]:
        """A round of this leader made a schedule; equal to the last one it changes nothing."""
        assert isinstance(self.state, StableLeader), "only a stable leader publishes"
        if self.owned is not None and self.owned.hash == envelope.hash:
            return []
        self.owned = self.stable = envelope
        self._own_hashes.append((envelope.hash, envelope.timestamp))
        is_new = self.last_known != envelope
        self._become_known(envelope)
        return [Adopt(envelope, is_new)]

    def tick(self, now: float) -> list[Action]:
        """Requests that are due, and the end of prefetching."""
        actions: list[Action] = []
        for wanted in self._wanted.values():
            actions.extend(self._ask(wanted, now))
        if isinstance(self.state, Prefetching):
            actions.extend(self._end_prefetching(self.state, now))
        return actions

    # What the outside asks.

    @property
    def wake_at(self) -> float:
        moments = [self._next_request(wanted) for wanted in self._wanted.values()]
        state = self.state
        if isinstance(state, Prefetching):
            moments.append(self._end_of_phase(state))
        return min(moments, default=float("inf"))

    @property
    def stamp(self) -> Stamp | None:
        """What this node's packets say."""
        if isinstance(self.state, Prefetching | StableLeader):
            return None if self.owned is None else self.owned.stamp
        return None if self.last_known is None else self.last_known.stamp

    def next_pong_stamp(self) -> Stamp | None:
        """As `stamp`; but a schedule that was replaced by one of other descent is named a few times more, so that the
        leader gets to know of it even where packets are lost."""
        while self._unmerged:
            if self._unmerged[0]:
                return self._unmerged[0].pop()
            self._unmerged.popleft()
        return self.stamp

    @property
    def schedule_status(self) -> str:
        match self.state:
            case StableLeader() | Prefetching():
                return "ok"
            case Replicating(target=None):
                return "waiting"
            case Replicating(target=Stamp(hash=hash)):
                return "ok" if self.stable is not None and self.stable.hash == hash else "fetching"
        return "unstable"

    def take_late_parents(self) -> tuple[Envelope, ...]:
        """For the next round, at most eight."""
        chosen = in_order(None, self._late.values())[:LATE_PARENTS_MAX]
        for envelope in chosen:
            del self._late[envelope.hash]
        return chosen

    @property
    def has_late_parents(self) -> bool:
        return bool(self._late)

    # Inside.

    def _forget(self) -> None:
        self.stable = self.owned = None
        self._wanted.clear()
        self._collected.clear()
        self._late.clear()
        self._tried.clear()
        self._own_hashes.clear()

    def _note_unmerged(self, newer: Envelope) -> None:
        old = self.last_known
        if old is not None and old.hash != newer.hash and old.hash not in dict(newer.ancestors):
            self._unmerged.append([old.stamp] * UNMERGED_TOLD)

    def _become_known(self, envelope: Envelope) -> None:
        self.last_known = envelope
        self.shelf.put(envelope)

    def _is_foreign(self, stamp: Stamp) -> bool:
        own = self.last_known
        return own is None or (stamp.hash != own.hash and stamp.hash not in dict(own.ancestors))

    def _is_late_parent(self, stamp: Stamp) -> bool:
        if not self._is_foreign(stamp):  # nearly always: asked first, as it comes with every pong
            return False
        if stamp.hash in self._tried or stamp.hash in self._late or stamp.hash in dict(self._own_hashes):
            return False
        return not is_leftover(stamp.timestamp, self.last_known)

    def _want(self, hash: str, holder: NodeId, now: float) -> None:
        if hash in self._collected:
            return
        here = self.shelf.get(hash)
        if here is not None:
            if isinstance(self.state, Prefetching):
                self._collected[hash] = here
            else:
                self._tried.add(hash)
                self._late[hash] = here
            return
        if hash in self._wanted:
            self._add_holder(self._wanted[hash], holder)
        elif len(self._wanted) < HASHES_MAX:
            self._wanted[hash] = _Wanted(hash, [holder], now)

    def _add_holder(self, wanted: _Wanted, holder: NodeId) -> None:
        if holder not in wanted.holders and holder != self.own_id and len(wanted.holders) < HOLDERS_MAX:
            wanted.holders.append(holder)

    def _ask(self, wanted: _Wanted, now: float) -> list[Action]:
        """At most two requests at a time: one, and after a second without answer another."""
        if now < self._next_request(wanted):
            return []
        free = [h for h in self._holders_to_ask(wanted) if wanted.resting.get(h, 0.0) <= now]
        if not free:
            return []
        source = self._rng.choice(free)
        wanted.running[source] = now
        return [Fetch(wanted.hash, source)]

    def _holders_to_ask(self, wanted: _Wanted) -> list[NodeId]:
        """A follower asks its leader, who is the first holder, and others only from the second failure on."""
        only_leader = isinstance(self.state, Replicating) and wanted.failures < 2
        holders = wanted.holders[:1] if only_leader else wanted.holders
        return [holder for holder in holders if holder not in wanted.running]

    def _next_request(self, wanted: _Wanted) -> float:
        holders = self._holders_to_ask(wanted)
        if not holders or len(wanted.running) >= 2:
            return float("inf")
        rested = min(wanted.resting.get(holder, 0.0) for holder in holders)
        joined = min(wanted.running.values()) + JOIN_AFTER_S if wanted.running else 0.0
        return max(wanted.not_before, rested, joined)

    def _end_of_phase(self, state: Prefetching) -> float:
        if not state.graceful:
            return state.since + self._numbers.prefetch_max_s
        all_heard = state.expected <= state.heard
        return state.since + (LISTEN_AT_LEAST_S if all_heard else self._numbers.prefetch_min_s)

    def _end_prefetching(self, state: Prefetching, now: float) -> list[Action]:
        if state.graceful:
            if now < self._end_of_phase(state):
                return []
            self.state = state = Prefetching(state.since, state.expected, state.heard, graceful=False)
        if self._wanted and now < self._end_of_phase(state):
            return []
        parents, left_out = true_parents(self.last_known, self._collected.values())
        missing = tuple((wanted.hash, tuple(wanted.holders)) for wanted in self._wanted.values())
        self._tried.update(self._collected, self._wanted)
        self._wanted.clear()
        self.state = StableLeader()
        return [ParentsReady(parents, tuple(envelope.hash for envelope in left_out), missing)]
