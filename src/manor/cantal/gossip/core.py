"""Gossip as a state machine: packets, time and requests go in, actions come out. No socket, no clock, no global chance.

Theory of operation. Each second a few members are pinged. One that does not answer is asked through three others; if
they cannot reach it either, it is *suspected*, and the suspicion travels. Whoever hears of it starts a timer of its
own, which further accusers shorten; when it ends, the member is *dead*. A member that hears itself doubted raises its
incarnation, which overrides all older claims: only the accused can acquit itself, and it hears of the charge from the
first packet it gets, since packets to a doubted member say so (`your_rank`).

Updates ride on every packet, each a bounded number of times; what is new is also told to three members at once, so a
death is known everywhere after a few network delays. What got lost is found by comparing digests now and then. A node
that hears of a larger cluster than it knows pulls the whole table.

Everybody keeps two views: cluster facts (`members`, the same everywhere, seconds apart) and what it saw itself
(`observations`). One observer's failure never makes a member dead, and a link that fails one way is reported as such.

Timers are a heap inside; `wake_at` is when `tick` is due. Perform the returned actions in order.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.members import Directory, Members, add_to_digest
from manor.cantal.gossip.messages import (
    AVAILABLE,
    STATE_MASK,
    Accused,
    Action,
    Body,
    Digest,
    DigestDiff,
    Direction,
    DuplicateId,
    Entry,
    HostAnswered,
    HostSilent,
    IndirectPong,
    Leave,
    MemberChanged,
    Nack,
    News,
    Packet,
    Ping,
    PingReq,
    Pong,
    Record,
    Report,
    Send,
    State,
    SyncPage,
    SyncRequest,
    Update,
    incarnation_of,
    rank_of,
    state_of,
)
from manor.cantal.gossip.news import News as Queue
from manor.cantal.gossip.numbers import GossipNumbers
from manor.cantal.gossip.observations import Hearsay, Observation
from manor.cantal.gossip.table_pull import TablePull

_ALIVE: Final = int(State.ALIVE)
_SUSPECT: Final = int(State.SUSPECT)
_NO_REPORT: Final = Report()

Actions = list[Action]
Timer = Callable[[Any, float, Actions], None]


class Probe:
    """One ping under way, or a direct one and what was sent to help it."""

    __slots__ = ("accuses", "address", "deadline_at", "nacks", "over", "relays", "seqs", "target")

    def __init__(self, target: bytes | None, address: str, *, accuses: bool) -> None:
        self.target = target
        self.address = address
        self.accuses = accuses  # without an answer the target is suspected
        self.deadline_at = 0.0
        self.seqs: list[int] = []  # of the pings sent for it
        self.relays: tuple[bytes, ...] = ()
        self.nacks = 0
        self.over = False


@dataclass(slots=True)
class Pinged:
    """One datagram of a probe."""

    probe: Probe
    address: str
    sent_at: float


class Suspicion:
    """Our own timer for a member somebody suspects."""

    __slots__ = ("sources", "started_at", "until")

    def __init__(self, sources: tuple[bytes, ...], started_at: float) -> None:
        self.sources = sources  # who suspects, each once
        self.started_at = started_at
        self.until = 0.0


@dataclass(slots=True)
class Relay:
    """A ping sent for somebody else."""

    asker: str
    seq: int
    target: bytes
    sent_at: float


@dataclass(slots=True)
class PendingHost:
    """An address given to `add_host` that has not answered yet."""

    next_at: float
    wait_s: float
    tries_left: int


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


@dataclass(frozen=True, slots=True)
class Link:
    """A link that fails in one way, as one observer reports it."""

    observer: bytes
    target: bytes
    direction: Direction
    since: float  # first heard of by us
    last_seen: float


class Gossip:
    """One node's part. `now` is seconds on one monotonic clock; never go back."""

    def __init__(
        self,
        record: Record,
        cluster: str,
        *,
        now: float,
        wall_ms: int,
        rng: random.Random,
        numbers: GossipNumbers = bounds.DEFAULTS,
        members: Members | None = None,
    ) -> None:
        self.record = record
        self.cluster = cluster
        self.members = members if members is not None else Members(Directory())
        self.observations: dict[bytes, Observation] = {}
        self.hearsay: dict[bytes, Hearsay] = {}
        self.health = 0
        self.counts = Counts()
        self.left = False
        self.duplicate_address: str | None = None
        self._numbers = numbers
        self._rng = rng
        self._start = record.incarnation
        self._wall_minus_now_ms = wall_ms - int(now * 1000)
        self._report = _NO_REPORT
        self._has_remote, self._scan_age_ms = False, 0
        self._counter = 0
        self._seq = 0
        self._news = Queue()
        self._something_new = False
        self._spread_tokens, self._spread_counted_at = float(bounds.SPREAD_PACKETS_PER_S), now
        self._spread_waits = False
        self._ring_at = int(rng.random() * (len(self.members.ring) + 1))
        self._pings: dict[int, Pinged] = {}
        self._trying: set[str] = set()  # addresses with a ping under way whose failure means nothing
        self._probing: set[bytes] = set()
        self._relays: dict[int, Relay] = {}
        self._suspicions: dict[int, Suspicion] = {}
        self._wanted: dict[bytes, float] = {}  # member -> when its record was asked for
        self._hosts: dict[str, PendingHost] = {}
        self._stored: list[str] = []
        self._pings_seen: dict[bytes, list[int]] = {}
        self._pings_by_age: deque[tuple[float, bytes]] = deque()
        self._links_heard: dict[tuple[bytes, bytes], Link] = {}
        self._pull: TablePull | None = None
        self._pull_pause_s = bounds.PULL_AGAIN_S[0]
        self._pull_not_before = now
        self._pull_known = 0
        self._pages_left, self._pages_counted_at = float(bounds.PAGES_PER_S), now
        self._duplicates: deque[float] = deque()
        self._clean_round = True
        self._timers: list[tuple[float, int, Timer, Any]] = []
        self._timer_order = itertools.count()
        self._packet_bytes = 70 + len(cluster.encode())  # everything but body and lists, upper bound
        self._at(now + numbers.probe_interval * rng.random(), Gossip._round, None)
        self._at(now + numbers.digest_interval * (0.5 + rng.random()), Gossip._compare, None)
        self._at(now + numbers.dead_probe_interval * (0.5 + rng.random()), Gossip._probe_gone, None)
        self._at(now + numbers.seed_retry, Gossip._retry_seeds, None)
        self._at(now + bounds.UPKEEP_EVERY_S, Gossip._upkeep, None)

    # --- what the shell calls -------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float:
        """When `tick` is due; asked again after every call."""
        return self._timers[0][0]

    def receive(self, packet: Packet, source: str, now: float) -> Actions:
        """A packet came from an address."""
        out: Actions = []
        if self.left:
            return out
        if packet.cluster != self.cluster:
            self.counts.foreign_cluster += 1
            return out
        if packet.sender == self.record.id:
            self._meet_own_id(packet, source, now, out)
            return out
        seen = self._observe(packet.sender)
        if seen is None or not seen.accepts(packet.start, packet.counter):
            self.counts.repeated += 1
            return out
        if packet.your_rank is not None:
            self._defend(packet.your_rank, now, out)
        wanted: list[bytes] = []
        if packet.updates:
            self._hear_updates(packet.updates, wanted, now, out)
        for entry in packet.records:
            self._hear_entry(entry, packet.sender, now, out)
        self._HANDLERS[type(packet.body)](self, packet.body, packet.sender, seen, source, now, out)
        if packet.wanted:
            self._give_records(packet.wanted, packet.sender, source, now, out)
        if wanted:
            self._ask_records(wanted, packet.sender, source, now, out)
        if self._something_new:
            self._spread(now, out)
        return out

    def tick(self, now: float) -> Actions:
        """Time passed. Late by more than a round means that we stood still, not that everybody else died."""
        out: Actions = []
        if self.left:
            return out
        if now - self._timers[0][0] > self._numbers.probe_interval:
            self._void(now)
        while self._timers[0][0] <= now:
            _, _, run, argument = heapq.heappop(self._timers)
            run(self, argument, now, out)  # type: ignore[call-arg, arg-type]
        if self._something_new:
            self._spread(now, out)
        return out

    def add_host(self, address: str, now: float) -> Actions:
        """Get to know whoever listens at the address; retried for a while, then `HostSilent`."""
        out: Actions = []
        if self.left or address in self.record.addresses:
            return out
        known = self._member_at(address)
        if known is not None:
            out.append(HostAnswered(address, known))
            return out
        first = self._numbers.add_host_first
        if address not in self._hosts:
            if len(self._hosts) >= bounds.HOSTS_MAX:
                self.counts.refused += 1
                return out
            wait_s = first * (0.5 + self._rng.random())
            self._hosts[address] = PendingHost(now + wait_s, first, self._numbers.add_host_retries)
            self._at(now + wait_s, Gossip._retry_host, address)
        self._try_address(address, None, now, out)
        return out

    def restore(self, entries: Iterable[Record], addresses: Iterable[str], now: float) -> None:
        """Members and addresses of an earlier life: unconfirmed until they answer, asked in random order."""
        for record in entries:
            if (
                record.id != self.record.id
                and record.id not in self.members
                and self._believable(record.incarnation, now)
            ):
                rank = rank_of(record.incarnation, State.UNCONFIRMED)
                self.members.add(record, rank, now=now, since=now, rng=self._rng)
        self._stored = [address for address in addresses if address not in self.record.addresses]
        self._rng.shuffle(self._stored)
        for number, address in enumerate(self._stored):
            self._at(now + number / bounds.RESTORED_HOSTS_PER_S, Gossip._contact_stored, address)

    def leave(self, now: float) -> Actions:
        """Say goodbye to some members and fall silent."""
        out: Actions = []
        for member in self._random_alive(bounds.LEAVE_TO):
            self._send(member, Leave(self.record.incarnation), 16, now, out)
        self.left = True
        return out

    def remove(self, member: bytes, now: float) -> Actions:
        """Forget a dead or left member everywhere. The caller has checked its state."""
        out: Actions = []
        slot = self.members.slot(member)
        if slot is None:
            return out
        rank = rank_of(incarnation_of(self.members.ranks[slot]), State.REMOVED)
        if rank > self.members.ranks[slot]:
            self._change(slot, Update(member, rank), now, out)
            self._spread(now, out)
        return out

    def set_condition(self, *, has_remote: bool, scan_age_ms: int) -> None:
        """What the next reports say of this node."""
        self._has_remote, self._scan_age_ms = has_remote, scan_age_ms

    def set_addresses(self, addresses: tuple[str, ...], now: float) -> Actions:
        """Our own addresses changed: a new incarnation tells everybody."""
        out: Actions = []
        if addresses != self.record.addresses:
            self.record = msgspec.structs.replace(self.record, addresses=addresses)
            self._raise_incarnation(self.record.incarnation, now, out)
            self._spread(now, out)
        return out

    def forget_contact(self, member: bytes, address: str) -> None:
        """Somebody else answered at this address (the mesh found out): do not take it for the member's any more."""
        seen = self.observations.get(member)
        if seen is not None and seen.primary == address:
            seen.primary = None

    # --- what others may ask --------------------------------------------------------------------------------------

    @property
    def own_report(self) -> Report:
        return self._report

    def pending_hosts(self) -> tuple[str, ...]:
        return tuple(self._hosts)

    def report_of(self, member: bytes) -> Hearsay | None:
        return self.hearsay.get(member)

    def suspected_by(self, member: bytes) -> tuple[bytes, ...]:
        slot = self.members.slot(member)
        suspicion = self._suspicions.get(slot) if slot is not None else None
        return suspicion.sources if suspicion is not None else ()

    def links(self, now: float) -> list[Link]:
        """Bad links of the whole cluster: what we see ourselves, and what the newest reports say."""
        memory_s = self._numbers.link_memory
        own = self.record.id
        found = [
            Link(own, member, seen.link, seen.link_since, seen.link_failed_at)
            for member, seen in self.observations.items()
            if seen.link is not None and now - seen.link_failed_at <= memory_s
        ]
        for (observer, target), link in self._links_heard.items():
            slot = self.members.slot(observer)
            if slot is not None and self.members.ranks[slot] & STATE_MASK in AVAILABLE and target != observer:
                found.append(link)
        return found

    def stale(self, now: float) -> int:
        """Members that are dead, or never confirmed and without any report for `stale-after`."""
        old = sum(
            1
            for slot in self.members.gone
            if self.members.ranks[slot] & STATE_MASK == State.UNCONFIRMED
            and now - self._heard_at(slot) > self._numbers.stale_after
        )
        return self.members.counts[State.DEAD] + old

    # --- probing --------------------------------------------------------------------------------------------------

    def _round(self, _: None, now: float, out: Actions) -> None:
        interval = self._numbers.probe_interval
        self._at(now + interval * (0.9 + 0.2 * self._rng.random()), Gossip._round, None)
        self._refresh_report(now)
        self._clean_round = True
        members = self.members
        ring, ranks = members.ring, members.ranks
        size = len(ring)
        wanted = self._numbers.probes_in_round(members.available)
        for _step in range(size):
            if wanted == 0:
                break
            self._ring_at = (self._ring_at + 1) % size
            slot = ring[self._ring_at]
            state = ranks[slot] & STATE_MASK
            if state in (_ALIVE, _SUSPECT):
                wanted -= 1
                member = members.directory.ids[slot]
                if member not in self._probing:
                    self._probe(member, slot, now, out)

    def _probe(self, member: bytes, slot: int, now: float, out: Actions) -> None:
        seen = self._observe(member)
        if seen is None:
            return
        record: Record = self.members.records[slot]
        address = seen.primary or (record.addresses[0] if record.addresses else None)
        if address is None:
            return
        probe = Probe(member, address, accuses=True)
        probe.deadline_at = now + self._numbers.probe_deadline * (1 + self.health)
        self._probing.add(member)
        seq = self._ping(probe, address, seen, now, out)
        numbers = self._numbers
        usual_s = numbers.probe_timeout_min if seen.smoothed_s is None else 4 * seen.smoothed_s
        timeout_s = min(max(usual_s, numbers.probe_timeout_min), numbers.probe_timeout_max) * (1 + self.health)
        self._at(now + timeout_s, Gossip._probe_late, seq)

    def _ping(self, probe: Probe, address: str, seen: Observation | None, now: float, out: Actions) -> int:
        """Send a ping that belongs to a probe; its number."""
        self._seq += 1
        probe.seqs.append(self._seq)
        self._pings[self._seq] = Pinged(probe, address, now)
        if seen is not None:
            seen.probes_sent += 1
            seen.probe_at, seen.probe_address = now, address
        body = Ping(self._seq, self.record, self._report, probe.target)
        out.append(Send(address, self._packet(body, self._greeting_bytes(), probe.target, now, friends=True)))
        return self._seq

    def _greeting_bytes(self) -> int:
        return 80 + self.record.wire_bytes + self._report.wire_bytes

    def _try_address(self, address: str, target: bytes | None, now: float, out: Actions) -> None:
        """A ping whose failure means nothing."""
        if len(self._pings) >= bounds.TRIES_MAX:
            return
        probe = Probe(target, address, accuses=False)
        self._trying.add(address)
        seen = self.observations.get(target) if target is not None else None
        seq = self._ping(probe, address, seen, now, out)
        self._at(now + self._numbers.probe_deadline * (1 + bounds.HEALTH_MAX), Gossip._drop_try, seq)

    def _drop_try(self, seq: int, _now: float, _out: Actions) -> None:
        pinged = self._pings.pop(seq, None)
        if pinged is not None:
            self._trying.discard(pinged.address)

    def _probe_late(self, seq: int, now: float, out: Actions) -> None:
        """The direct ping was not answered in time: ask others, and try another address."""
        pinged = self._pings.get(seq)
        if pinged is None or pinged.probe.target is None:
            return
        probe = pinged.probe
        assert probe.target is not None
        slot = self.members.slot(probe.target)
        if slot is None:
            return self._end_probe(probe)
        record: Record = self.members.records[slot]
        addresses = tuple(dict.fromkeys((probe.address, *record.addresses)))[: bounds.ADDRESSES_MAX]
        patience_ms = max(1, int((probe.deadline_at - now) * 1000))
        request = PingReq(seq, probe.target, addresses, patience_ms)
        probe.relays = tuple(self._random_alive(self._numbers.indirect_probes, without=probe.target))
        for relay in probe.relays:
            self._send(relay, request, 60 + 19 * len(addresses), now, out)
        others = [address for address in addresses if address != probe.address]
        if others:
            other = others[int(self._rng.random() * len(others))]
            self._ping(probe, other, self.observations.get(probe.target), now, out)
        self._at(probe.deadline_at, Gossip._probe_failed, probe)

    def _probe_failed(self, probe: Probe, now: float, out: Actions) -> None:
        for seq in probe.seqs:
            self._pings.pop(seq, None)
        if probe.target is None or probe.over:
            return
        self._end_probe(probe)
        if probe.nacks < len(probe.relays) and self._clean_round:
            self._clean_round = False
            self.health = min(self.health + 1, bounds.HEALTH_MAX)
        slot = self.members.slot(probe.target)
        if slot is None:
            return
        rank = self.members.ranks[slot]
        if rank & STATE_MASK in AVAILABLE:
            self.counts.suspicions_raised += 1
            suspect = rank_of(incarnation_of(rank), State.SUSPECT)
            self._hear(Update(probe.target, suspect, self.record.id), slot, now, out)
            self._at(now + bounds.ACCUSED_PING_EVERY_S, Gossip._ping_accused, (slot, suspect))

    def _ping_accused(self, accused: tuple[int, int], now: float, out: Actions) -> None:
        """As long as our own suspicion runs, its subject is told once a second."""
        slot, rank = accused
        if self.members.ranks[slot] != rank or slot not in self._suspicions:
            return
        member = self.members.directory.ids[slot]
        address = self._address_of(member, slot)
        if address is not None:
            self._try_address(address, member, now, out)
        self._at(now + bounds.ACCUSED_PING_EVERY_S, Gossip._ping_accused, accused)

    def _end_probe(self, probe: Probe) -> None:
        probe.over = True
        if probe.accuses and probe.target is not None:
            self._probing.discard(probe.target)
        else:
            self._trying.discard(probe.address)

    def _probe_gone(self, _: None, now: float, out: Actions) -> None:
        """Now and then one that is not available gets another chance."""
        pause_s = self._numbers.dead_probe_s(len(self.members))
        self._at(now + pause_s * (0.5 + self._rng.random()), Gossip._probe_gone, None)
        ranks = self.members.ranks
        candidates = [slot for slot in self.members.gone if ranks[slot] & STATE_MASK < State.LEFT]
        if candidates:
            slot = candidates[int(self._rng.random() * len(candidates))]
            member = self.members.directory.ids[slot]
            address = self._address_of(member, slot)
            if address is not None:
                self._try_address(address, member, now, out)

    # --- packets about probing ------------------------------------------------------------------------------------

    def _on_ping(self, body: Ping, sender: bytes, seen: Observation, source: str, now: float, out: Actions) -> None:
        seen.pings_received += 1
        answered = seen.answered_start == seen.start
        known_process = seen.answered_start != 0
        if body.record.id == sender:
            self._meet(body.record, body.report, sender, direct=answered, now=now, out=out)
        if answered:
            seen.direct_at, seen.primary = now, source
        got_direct = False
        if body.asked_by is None:
            self._pings_seen.setdefault(sender, []).append(body.seq)
            self._pings_by_age.append((now, sender))
            self._forget_old_pings(now)
        else:
            asker, seq = body.asked_by
            got_direct = seq in self._pings_seen.get(asker, ())
        pong = Pong(body.seq, self.record, self._report, len(self._pings_seen.get(sender, ())), got_direct)
        out.append(Send(source, self._packet(pong, self._greeting_bytes(), sender, now)))
        if not answered:
            slot = self.members.slot(sender)
            if slot is not None and (known_process or slot in self.members.gone) and sender not in self._probing:
                self._contact(sender, source, now, out)

    def _contact(self, member: bytes, address: str, now: float, out: Actions) -> None:
        """Ping somebody who has just shown up at an address, once until the answer or its time-out."""
        if address not in self._trying:
            self._try_address(address, member, now, out)

    def _on_pong(self, body: Pong, sender: bytes, seen: Observation, source: str, now: float, out: Actions) -> None:
        pinged = self._pings.pop(body.seq, None)
        if pinged is None:
            self._on_relayed_pong(body, sender, seen, now, out)
            return
        probe = pinged.probe
        asked = probe.target is None or probe.target == sender
        if asked:  # else somebody else lives there now, and the target itself did not answer
            if probe.accuses and not probe.relays and self.health:
                self.health -= 1
            self._end_probe(probe)
        seen.answered(address=pinged.address, sent_at=pinged.sent_at, now=now)
        self._host_answered(pinged.address, sender, out)
        if body.record.id == sender:
            seen.direct_at = now
            self._meet(body.record, body.report, sender, direct=True, now=now, out=out)
        slot = self.members.slot(sender)
        if probe.target is None and slot is not None and self.members.ranks[slot] & STATE_MASK != _ALIVE:
            self._try_address(pinged.address, sender, now, out)  # tells it what is said of it

    def _on_relayed_pong(self, body: Pong, sender: bytes, seen: Observation, now: float, out: Actions) -> None:
        relay = self._relays.get(body.seq)
        if relay is None or relay.target != sender:
            return
        del self._relays[body.seq]
        took_ms = int((now - relay.sent_at) * 1000)
        answer = IndirectPong(relay.seq, sender, body.got_direct, took_ms)
        out.append(Send(relay.asker, self._packet(answer, 40, None, now)))
        if body.record.id == sender:
            seen.answered_start = seen.start
            seen.direct_at = now
            self._meet(body.record, body.report, sender, direct=True, now=now, out=out)

    def _on_ping_req(self, body: PingReq, sender: bytes, _: Observation, source: str, now: float, out: Actions) -> None:
        slot = self.members.slot(body.target)
        address = self._address_of(body.target, slot) if slot is not None else None
        address = address or (body.addresses[0] if body.addresses else None)
        if address is None or len(self._relays) >= bounds.RELAYS_MAX or body.target == self.record.id:
            return
        self._seq += 1
        self._relays[self._seq] = Relay(source, body.seq, body.target, now)
        ping = Ping(self._seq, self.record, self._report, body.target, asked_by=(sender, body.seq))
        out.append(Send(address, self._packet(ping, self._greeting_bytes() + 30, body.target, now)))
        patience_s = min(body.patience_ms / 1000, self._numbers.probe_deadline * (1 + bounds.HEALTH_MAX))
        self._at(now + 0.8 * patience_s, Gossip._relay_late, self._seq)

    def _relay_late(self, seq: int, now: float, out: Actions) -> None:
        relay = self._relays.pop(seq, None)
        if relay is not None:
            out.append(Send(relay.asker, self._packet(Nack(relay.seq, relay.target), 30, None, now)))

    def _on_nack(self, body: Nack, sender: bytes, _: Observation, _source: str, _now: float, _out: Actions) -> None:
        pinged = self._pings.get(body.seq)
        if pinged is not None and sender in pinged.probe.relays:
            pinged.probe.nacks += 1

    def _on_indirect_pong(
        self, body: IndirectPong, sender: bytes, _: Observation, _source: str, now: float, _out: Actions
    ) -> None:
        pinged = self._pings.get(body.seq)
        if pinged is None or pinged.probe.target != body.target or sender not in pinged.probe.relays:
            return
        if pinged.probe.over:
            return
        self._end_probe(pinged.probe)
        target = self.observations.get(body.target)
        if target is not None:
            direction = Direction.REPLY_LOST if body.got_direct else Direction.REQUEST_LOST
            target.reached_indirectly(direction, now)

    # --- claims ---------------------------------------------------------------------------------------------------

    def _hear_updates(self, updates: tuple[Update, ...], wanted: list[bytes], now: float, out: Actions) -> None:
        """The hot loop of a large cluster: most updates are known already."""
        members = self.members
        members.reach_all()
        slot_of, ranks = members.directory.slots.get, members.ranks
        for update in updates:
            slot = slot_of(update.member)
            known = ranks[slot] if slot is not None else 0
            if update.rank < known or (update.rank == known and known & STATE_MASK != _SUSPECT):
                continue
            if slot is not None and known:
                self._hear(update, slot, now, out)
            elif update.member == self.record.id:
                self._defend(update.rank, now, out)
            else:
                wanted.append(update.member)

    def _hear(self, update: Update, slot: int, now: float, out: Actions) -> None:
        """A claim about a member of the table."""
        known = self.members.ranks[slot]
        if update.rank > known:
            if self._believable(incarnation_of(update.rank), now):
                self._change(slot, update, now, out)
        elif update.rank == known and known & STATE_MASK == _SUSPECT:
            self._confirm(slot, update, now)

    def _change(self, slot: int, update: Update, now: float, out: Actions, *, since: float | None = None) -> None:
        """The cluster's opinion moves on; the update travels further."""
        before, after = self.members.ranks[slot], update.rank
        self.members.change(slot, after, now if since is None else since)
        self._suspicions.pop(slot, None)
        if after & STATE_MASK == _SUSPECT:
            suspicion = Suspicion((update.source,) if update.source is not None else (), now)
            self._suspicions[slot] = suspicion
            self._schedule_death(slot, suspicion)
        self._news.add(update, slot, self._retransmissions())
        self._something_new = True
        if (before ^ after) & STATE_MASK:
            out.append(MemberChanged(update.member, State(before & STATE_MASK), State(after & STATE_MASK)))

    def _confirm(self, slot: int, update: Update, now: float) -> None:
        """One more accuser brings the death nearer."""
        suspicion = self._suspicions.get(slot)
        if suspicion is None or update.source is None or update.source in suspicion.sources:
            return
        if len(suspicion.sources) > self._numbers.confirmations(self.members.available):
            return
        suspicion.sources += (update.source,)
        self._schedule_death(slot, suspicion)
        self._news.add(update, slot, self._retransmissions())
        self._something_new = True

    def _schedule_death(self, slot: int, suspicion: Suspicion) -> None:
        confirmed = max(0, len(suspicion.sources) - 1)
        until = suspicion.started_at + self._numbers.suspicion_s(confirmed, self.members.available)
        if not suspicion.until or until < suspicion.until:
            suspicion.until = until
            self._at(until, Gossip._suspicion_over, (slot, suspicion))

    def _suspicion_over(self, about: tuple[int, Suspicion], now: float, out: Actions) -> None:
        slot, suspicion = about
        if self._suspicions.get(slot) is not suspicion or now < suspicion.until:
            return
        self.counts.deaths_declared += 1
        dead = rank_of(incarnation_of(self.members.ranks[slot]), State.DEAD)
        self._change(slot, Update(self.members.directory.ids[slot], dead), now, out)

    def _hear_entry(self, entry: Entry, via: bytes, now: float, out: Actions) -> None:
        """A claim that brings its record, and perhaps a report."""
        record = entry.record
        if record.id == self.record.id:
            self._defend(entry.rank, now, out)
            return
        slot = self.members.slot(record.id)
        if slot is None:
            since = now - min(entry.age_ms / 1000, bounds.AGE_S_MAX)
            slot = self._add(record, entry.rank, entry.source, since, now, out)
            if slot is None:
                return
        else:
            if record.incarnation > self.members.records[slot].incarnation and self._believable(
                record.incarnation, now
            ):
                self.members.records[slot] = record
            known = self.members.ranks[slot]
            if entry.rank > known or (entry.rank == known and entry.source is not None):
                self._hear(Update(record.id, entry.rank, entry.source), slot, now, out)
        if entry.report is not None:
            at = now - min(entry.report_age_ms / 1000, bounds.AGE_S_MAX)
            heard = self.hearsay.get(record.id)
            if heard is None or at > heard.at:
                self._hear_report(record.id, Hearsay(entry.report, at, via, entry.roundtrip_ms), heard, now)

    def _add(
        self, record: Record, rank: int, source: bytes | None, since: float, now: float, out: Actions
    ) -> int | None:
        """A member that was not in the table; None if it is not taken in."""
        state = rank & STATE_MASK
        too_old = self._too_old(state, now - since)
        if too_old or len(self.members) >= bounds.MEMBERS_MAX or not self._believable(incarnation_of(rank), now):
            self.counts.refused += not too_old
            return None
        slot = self.members.add(record, rank, now=now, since=since, rng=self._rng)
        self._wanted.pop(record.id, None)
        if state != State.UNCONFIRMED:
            if state == State.SUSPECT:
                suspicion = self._suspicions[slot] = Suspicion((source,) if source is not None else (), now)
                self._schedule_death(slot, suspicion)
            if self._pull is None:  # while the whole table comes, its old news need no telling
                self._news.add(Update(record.id, rank, source), slot, self._retransmissions())
                self._something_new = True
        out.append(MemberChanged(record.id, None, State(state)))
        return slot

    def _meet(self, record: Record, report: Report, member: bytes, *, direct: bool, now: float, out: Actions) -> None:
        """A member spoke for itself. `direct`: it has answered a ping of ours, so it is where it says."""
        rank = rank_of(record.incarnation, State.ALIVE)
        slot = self.members.slot(member)
        if slot is None:
            first = rank if direct else rank_of(record.incarnation, State.UNCONFIRMED)
            slot = self._add(record, first, None, now, now, out)
            if slot is None:
                return
        else:
            known = self.members.ranks[slot]
            if record is not self.members.records[slot] and (
                record.incarnation > self.members.records[slot].incarnation
                and self._believable(record.incarnation, now)
            ):
                self.members.records[slot] = record
            if rank > known and (direct or known & STATE_MASK != State.UNCONFIRMED):
                self._hear(Update(member, rank), slot, now, out)
        if direct:
            heard = self.hearsay.get(member)
            if heard is None or heard.report is not report or now > heard.at:
                self._hear_report(member, Hearsay(report, now, member), heard, now)
            if report.peers > len(self.members):
                self._start_pull(report.peers, now, out)

    def _hear_report(self, member: bytes, heard: Hearsay, before: Hearsay | None, now: float) -> None:
        self.hearsay[member] = heard
        old = before.report.unreachable if before is not None else ()
        new = heard.report.unreachable
        if not old and not new:
            return
        for target, _ in old:
            if all(target != still for still, _ in new):
                self._links_heard.pop((member, target), None)
        for target, direction in new:
            link = self._links_heard.get((member, target))
            since = link.since if link is not None else heard.at
            self._links_heard[member, target] = Link(member, target, Direction(direction), since, heard.at)

    def _defend(self, rank: int, now: float, out: Actions) -> None:
        """Somebody says of us what is not so, or what only a later incarnation of us could have said."""
        own = self.record.incarnation
        claimed, state = incarnation_of(rank), state_of(rank)
        if state == State.UNCONFIRMED or claimed < own or (claimed == own and state == State.ALIVE):
            return
        if not self._believable(claimed, now):
            self.counts.refused += 1
            return
        self.counts.accused += 1
        if state == State.SUSPECT:
            self.health = min(self.health + 1, bounds.HEALTH_MAX)
        self._raise_incarnation(claimed, now, out)
        out.append(Accused(state, self.record.incarnation))

    def _raise_incarnation(self, above: int, _now: float, _out: Actions) -> None:
        self.record = msgspec.structs.replace(self.record, incarnation=above + 1)
        update = Update(self.record.id, rank_of(above + 1, State.ALIVE))
        self._news.add(update, -1, self._retransmissions())
        self._something_new = True

    def _on_leave(self, body: Leave, sender: bytes, _: Observation, _source: str, now: float, out: Actions) -> None:
        slot = self.members.slot(sender)
        if slot is not None:
            self._hear(Update(sender, rank_of(body.incarnation, State.LEFT)), slot, now, out)

    # --- telling others -------------------------------------------------------------------------------------------

    def _packet(
        self, body: Body, body_bytes: int, receiver: bytes | None, now: float, *, friends: bool = False
    ) -> Packet:
        """A packet filled with what fits: first what is new, then some members the receiver may not have heard of."""
        self._counter += 1
        room = bounds.PAYLOAD_BYTES_MAX - self._packet_bytes - body_bytes
        updates: tuple[Update, ...] = ()
        if len(self._news):
            own = rank_of(self.record.incarnation, State.ALIVE)
            updates = self._news.take(room, self._numbers.updates_per_packet, self.members.ranks, own)
            room -= sum([update.wire_bytes for update in updates])
        records = self._friends(room, receiver, now) if friends else ()
        your_rank = None
        if receiver is not None:
            slot = self.members.directory.slots.get(receiver)
            rank = self.members.rank_at(slot) if slot is not None else 0
            if rank & STATE_MASK > _ALIVE:
                your_rank = rank
        return Packet(self.cluster, self.record.id, self._start, self._counter, body, updates, records, (), your_rank)

    def _friends(self, room: int, receiver: bytes | None, now: float) -> tuple[Entry, ...]:
        """Random members with the newest report we know of."""
        members = self.members
        ring, size = members.ring, len(members.ring)
        if not size:
            return ()
        found = []
        for _ in range(self._numbers.friends_per_packet):
            slot = ring[int(self._rng.random() * size)]
            rank = members.ranks[slot]
            if rank & STATE_MASK != _ALIVE:
                continue
            member = members.directory.ids[slot]
            heard = self.hearsay.get(member)
            if member == receiver or heard is None:
                continue
            entry = self._entry(slot, member, now, heard)
            room -= entry.wire_bytes
            if room < 0:
                break
            found.append(entry)
        return tuple(found)

    def _entry(self, slot: int, member: bytes, now: float, heard: Hearsay | None) -> Entry:
        members = self.members
        age_ms = int((now - members.since[slot]) * 1000)
        suspicion = self._suspicions.get(slot) if self._suspicions else None
        source = suspicion.sources[0] if suspicion is not None and suspicion.sources else None
        if heard is None:
            return Entry(members.records[slot], members.ranks[slot], age_ms, source)
        seen = self.observations.get(member)
        roundtrip_ms = int(seen.roundtrip_ms) if seen is not None and seen.roundtrip_at else None
        report_age_ms = max(0, int((now - heard.at) * 1000))
        return Entry(
            members.records[slot], members.ranks[slot], age_ms, source, heard.report, report_age_ms, roundtrip_ms
        )

    def _spread(self, now: float, out: Actions) -> None:
        """Tell some members at once, but only so many packets a second; what comes too often waits and is joined."""
        rate = bounds.SPREAD_PACKETS_PER_S
        tokens = min(float(rate), self._spread_tokens + (now - self._spread_counted_at) * rate)
        self._spread_counted_at = now
        to = min(bounds.SPREAD_TO, int(tokens))
        if to == 0:
            self._spread_tokens = tokens
            if not self._spread_waits:
                self._spread_waits = True
                self._at(now + bounds.SPREAD_TO / rate, Gossip._spread_later, None)
            self._something_new = False
            return
        for member in self._random_alive(to):
            tokens -= 1
            self._send(member, News(), 4, now, out)
        self._spread_tokens = tokens
        self._something_new = False

    def _spread_later(self, _: None, _now: float, _out: Actions) -> None:
        self._spread_waits = False
        self._something_new = True  # `tick` spreads at its end

    def _ask_records(self, wanted: list[bytes], sender: bytes, source: str, now: float, out: Actions) -> None:
        """Whoever told us of a member we lack gives its record."""
        asked: list[bytes] = []
        for member in wanted:
            if now - self._wanted.get(member, -bounds.WANTED_AGAIN_S) < bounds.WANTED_AGAIN_S:
                continue
            if len(self._wanted) >= bounds.WANTED_MAX or len(asked) >= bounds.WANTED_PER_PACKET:
                break
            self._wanted[member] = now
            asked.append(member)
        if asked:
            packet = self._packet(News(), 4 + 17 * len(asked), sender, now)
            out.append(Send(source, msgspec.structs.replace(packet, wanted=tuple(asked))))

    def _give_records(self, wanted: tuple[bytes, ...], sender: bytes, source: str, now: float, out: Actions) -> None:
        entries: list[Entry] = []
        room = bounds.PAYLOAD_BYTES_MAX - self._packet_bytes
        for member in wanted[: bounds.WANTED_PER_PACKET]:
            slot = self.members.slot(member)
            if slot is None or not self.members.ranks[slot] & STATE_MASK:
                continue
            entry = self._entry(slot, member, now, None)
            room -= entry.wire_bytes
            if room < 0:
                break
            entries.append(entry)
        if entries:
            self._counter += 1
            packet = Packet(self.cluster, self.record.id, self._start, self._counter, News(), records=tuple(entries))
            out.append(Send(source, packet))

    def _on_news(self, _body: News, _sender: bytes, _: Observation, _source: str, _now: float, _out: Actions) -> None:
        """All there is to it is in the common fields."""

    # --- the whole table ------------------------------------------------------------------------------------------

    def _start_pull(self, members: int, now: float, out: Actions) -> None:
        if self._pull is not None or now < self._pull_not_before:
            return
        sources = self._random_alive(bounds.PULL_FROM)
        if sources:
            self._pull = TablePull(sources, members, self._rng)
            self._pull_known = len(self.members)
            self._go_on_pulling(None, now, out)

    def _go_on_pulling(self, _: None, now: float, out: Actions) -> None:
        pull = self._pull
        if pull is None:
            return
        for member, request in pull.ask(now):
            self._send(member, request, 50, now, out)
        if pull.done:
            self._pull = None
            shortest, longest = bounds.PULL_AGAIN_S
            learned = len(self.members) > self._pull_known
            self._pull_pause_s = shortest if learned else min(2 * self._pull_pause_s, longest)
            self._pull_not_before = now + self._pull_pause_s
        elif (timeout_at := pull.next_timeout_at) is not None:
            self._at(timeout_at, Gossip._go_on_pulling, None)

    def _on_sync_request(
        self, body: SyncRequest, _sender: bytes, _: Observation, source: str, now: float, out: Actions
    ) -> None:
        rate = float(bounds.PAGES_PER_S)
        self._pages_left = min(rate, self._pages_left + (now - self._pages_counted_at) * rate)
        self._pages_counted_at = now
        if self._pages_left < 1:
            return
        self._pages_left -= 1
        members = self.members
        room = bounds.PAYLOAD_BYTES_MAX - self._packet_bytes - 80
        entries: list[Entry] = []
        next_cursor = b""
        if body.cursor <= self.record.id and (not body.high or self.record.id < body.high):
            own = Entry(self.record, rank_of(self.record.incarnation, State.ALIVE))
            entries.append(own)
            room -= own.wire_bytes
        for member in members.ids_from(body.cursor, body.high):
            slot = members.directory.slots[member]
            rank = members.ranks[slot]
            if not rank & STATE_MASK:
                continue
            if room < members.records[slot].wire_bytes + 65:
                next_cursor = member
                break
            entry = self._entry(slot, member, now, None)
            room -= entry.wire_bytes
            entries.append(entry)
        page = SyncPage(body.cursor, body.high, tuple(entries), next_cursor, members.confirmed)
        self._counter += 1
        packet = Packet(self.cluster, self.record.id, self._start, self._counter, page)
        out.append(Send(source, packet))

    def _on_sync_page(
        self, body: SyncPage, sender: bytes, _: Observation, _source: str, now: float, out: Actions
    ) -> None:
        if self._pull is None or not self._pull.receive(body, sender):
            return
        for entry in body.entries:
            self._hear_entry(entry, sender, now, out)
        self._go_on_pulling(None, now, out)

    def _compare(self, _: None, now: float, out: Actions) -> None:
        """Send our digest to one member: what got lost on all other ways is found so."""
        self._at(now + self._numbers.digest_interval * (0.5 + self._rng.random()), Gossip._compare, None)
        for member in self._random_alive(1):
            self._send(member, Digest(self._digest()), 640, now, out)

    def _digest(self) -> tuple[int, ...]:
        buckets = self.members.buckets.copy()
        add_to_digest(buckets, self.record.id, rank_of(self.record.incarnation, State.ALIVE))
        return tuple(buckets)

    def _on_digest(self, body: Digest, sender: bytes, _: Observation, source: str, now: float, out: Actions) -> None:
        own = self._digest()
        differing = {number for number, theirs in enumerate(body.hashes[: bounds.BUCKETS]) if theirs != own[number]}
        if not differing:
            return
        claims = []
        if self.record.id[15] % bounds.BUCKETS in differing:
            claims.append(Update(self.record.id, rank_of(self.record.incarnation, State.ALIVE)))
        for member in self.members.ids:
            if member[15] % bounds.BUCKETS in differing:
                rank = self.members.ranks[self.members.directory.slots[member]]
                if rank & STATE_MASK:
                    claims.append(Update(member, rank))
        per_packet = (bounds.PAYLOAD_BYTES_MAX - self._packet_bytes - 10) // 28
        starts = list(range(0, len(claims), per_packet))
        self._rng.shuffle(starts)
        for start in starts[: bounds.DIGEST_ANSWERS_MAX]:
            self._counter += 1
            diff = DigestDiff(tuple(claims[start : start + per_packet]))
            out.append(Send(source, Packet(self.cluster, self.record.id, self._start, self._counter, diff)))

    def _on_digest_diff(
        self, body: DigestDiff, sender: bytes, _: Observation, source: str, now: float, out: Actions
    ) -> None:
        wanted: list[bytes] = []
        newer: list[Update] = []
        for claim in body.claims:
            slot = self.members.slot(claim.member)
            if slot is not None and self.members.ranks[slot] > claim.rank and self.members.ranks[slot] & STATE_MASK:
                newer.append(Update(claim.member, self.members.ranks[slot]))
        self._hear_updates(body.claims, wanted, now, out)
        self._ask_records(wanted, sender, source, now, out)
        if newer:
            self._counter += 1
            most = (bounds.PAYLOAD_BYTES_MAX - self._packet_bytes) // 28
            packet = Packet(
                self.cluster, self.record.id, self._start, self._counter, News(), updates=tuple(newer[:most])
            )
            out.append(Send(source, packet))

    # --- joining --------------------------------------------------------------------------------------------------

    def _retry_host(self, address: str, now: float, out: Actions) -> None:
        host = self._hosts.get(address)
        if host is None:
            return
        if host.tries_left == 0:
            del self._hosts[address]
            out.append(HostSilent(address))
            return
        host.tries_left -= 1
        host.wait_s = min(host.wait_s * self._numbers.add_host_factor, self._numbers.add_host_cap)
        host.next_at = now + host.wait_s * (0.5 + self._rng.random())
        self._at(host.next_at, Gossip._retry_host, address)
        self._try_address(address, None, now, out)

    def _host_answered(self, address: str, member: bytes, out: Actions) -> None:
        if self._hosts.pop(address, None) is not None:
            out.append(HostAnswered(address, member))

    def _contact_stored(self, address: str, now: float, out: Actions) -> None:
        if self._member_at(address) is None:
            out.extend(self.add_host(address, now))

    def _retry_seeds(self, _: None, now: float, out: Actions) -> None:
        """While nobody is alive, all stored addresses are tried again: a cluster that was switched off finds itself."""
        self._at(now + self._numbers.seed_retry, Gossip._retry_seeds, None)
        if not self.members.available:
            for number, address in enumerate(self._stored):
                self._at(now + number / bounds.RESTORED_HOSTS_PER_S, Gossip._try_seed, address)

    def _try_seed(self, address: str, now: float, out: Actions) -> None:
        if not self.members.available:
            self._try_address(address, None, now, out)

    def _meet_own_id(self, packet: Packet, source: str, now: float, out: Actions) -> None:
        """Our own packet by a detour, or a machine with our id: such packets are not believed in anything."""
        if packet.start == self._start or source in self.record.addresses:
            return
        self.counts.duplicate_id += 1
        while self._duplicates and now - self._duplicates[0] > bounds.DUPLICATE_WINDOW_S:
            self._duplicates.popleft()
        self._duplicates.append(now)
        if len(self._duplicates) <= 2 * bounds.DUPLICATES_TO_WARN:
            self._try_address(source, None, now, out)  # so that the other one notices too
        if len(self._duplicates) == bounds.DUPLICATES_TO_WARN:
            self.duplicate_address = source
            out.append(DuplicateId(source))

    # --- time -----------------------------------------------------------------------------------------------------

    def _at(self, moment: float, run: Callable[..., None], argument: Any) -> None:
        heapq.heappush(self._timers, (moment, next(self._timer_order), run, argument))

    def _void(self, now: float) -> None:
        """We stood still: forget what was asked before, and give every suspect its full time again."""
        self.counts.voided += 1
        self._pings.clear()
        self._trying.clear()
        self._probing.clear()
        self._relays.clear()
        for slot, suspicion in self._suspicions.items():
            renewed = self._suspicions[slot] = Suspicion(suspicion.sources[:1], now)
            self._schedule_death(slot, renewed)

    def _upkeep(self, _: None, now: float, out: Actions) -> None:
        """What nobody asked for any more is forgotten."""
        self._at(now + bounds.UPKEEP_EVERY_S, Gossip._upkeep, None)
        self._forget_old_pings(now)
        for member in [member for member, at in self._wanted.items() if now - at > bounds.WANTED_AGAIN_S]:
            del self._wanted[member]
        for seen in self.observations.values():
            if seen.link is not None and now - seen.link_failed_at > self._numbers.link_memory:
                seen.link = None
        ranks, since = self.members.ranks, self.members.since
        for slot in [s for s in self.members.gone if self._too_old(ranks[s] & STATE_MASK, now - since[s])]:
            member, state = self.members.directory.ids[slot], State(ranks[slot] & STATE_MASK)
            self.members.forget(slot)
            self.observations.pop(member, None)
            self.hearsay.pop(member, None)
            out.append(MemberChanged(member, state, None))

    def _too_old(self, state: int, age_s: float) -> bool:
        if state == State.DEAD:
            return age_s > self._numbers.remove_after
        if state in (State.LEFT, State.REMOVED):
            return age_s > bounds.REMOVE_LEFT_AFTER_S
        return state == State.UNCONFIRMED and age_s > bounds.UNCONFIRMED_FOR_S

    def _forget_old_pings(self, now: float) -> None:
        old = self._pings_by_age
        while old and now - old[0][0] > bounds.RECENT_PINGS_S:
            _, sender = old.popleft()
            seqs = self._pings_seen[sender]
            del seqs[0]
            if not seqs:
                del self._pings_seen[sender]

    def _refresh_report(self, now: float) -> None:
        unreachable: list[tuple[bytes, int]] = []
        count = 0
        for member in [m for m, seen in self.observations.items() if seen.link is not None]:
            seen = self.observations[member]
            slot = self.members.slot(member)
            available = slot is not None and self.members.ranks[slot] & STATE_MASK in AVAILABLE
            if seen.link is not None and available and now - seen.link_failed_at <= self._numbers.link_memory:
                count += 1
                if len(unreachable) < bounds.UNREACHABLE_SHOWN_MAX:
                    unreachable.append((member, int(seen.link)))
        new = Report(len(self.members), self._has_remote, self._scan_age_ms, count, tuple(unreachable))
        if new != self._report:
            self._report = new

    # --- small questions ------------------------------------------------------------------------------------------

    def _observe(self, member: bytes) -> Observation | None:
        seen = self.observations.get(member)
        if seen is None:
            if len(self.observations) >= bounds.MEMBERS_MAX:
                self.counts.refused += 1
                return None
            seen = self.observations[member] = Observation()
        return seen

    def _send(self, member: bytes, body: Body, body_bytes: int, now: float, out: Actions) -> None:
        slot = self.members.slot(member)
        address = self._address_of(member, slot) if slot is not None else None
        if address is not None:
            out.append(Send(address, self._packet(body, body_bytes, member, now)))

    def _address_of(self, member: bytes, slot: int) -> str | None:
        seen = self.observations.get(member)
        if seen is not None and seen.primary is not None:
            return seen.primary
        record: Record = self.members.records[slot]
        return record.addresses[0] if record.addresses else None

    def _member_at(self, address: str) -> bytes | None:
        """The available member that answered at this address."""
        for member, seen in self.observations.items():
            if seen.primary == address:
                slot = self.members.slot(member)
                if slot is not None and self.members.ranks[slot] & STATE_MASK in AVAILABLE:
                    return member
        return None

    def _random_alive(self, count: int, *, without: bytes | None = None) -> list[bytes]:
        """So many different members that are alive, or as many as there are."""
        members = self.members
        ring, ranks, ids = members.ring, members.ranks, members.directory.ids
        size = len(ring)
        alive = members.counts[State.ALIVE]
        found: list[bytes] = []
        if alive > 2 * count:
            for _ in range(4 * count):
                slot = ring[int(self._rng.random() * size)]
                member = ids[slot]
                if ranks[slot] & STATE_MASK == _ALIVE and member != without and member not in found:
                    found.append(member)
                    if len(found) == count:
                        return found
        if alive and len(found) < count:
            start = int(self._rng.random() * size)
            for step in range(size):
                slot = ring[(start + step) % size]
                member = ids[slot]
                if ranks[slot] & STATE_MASK == _ALIVE and member != without and member not in found:
                    found.append(member)
                    if len(found) == count:
                        break
        return found

    def _heard_at(self, slot: int) -> float:
        heard = self.hearsay.get(self.members.directory.ids[slot])
        return heard.at if heard is not None else float(self.members.known_since[slot])

    def _retransmissions(self) -> int:
        return self._numbers.retransmissions(len(self.members))

    def _believable(self, incarnation: int, now: float) -> bool:
        """Incarnations begin as milliseconds since 1970; one from far in the future would never be overridden."""
        return incarnation <= self._wall_minus_now_ms + now * 1000 + bounds.INCARNATION_AHEAD_MS_MAX

    _HANDLERS: ClassVar[Mapping[type, Callable[..., None]]] = {
        Ping: _on_ping,
        Pong: _on_pong,
        PingReq: _on_ping_req,
        IndirectPong: _on_indirect_pong,
        Nack: _on_nack,
        SyncRequest: _on_sync_request,
        SyncPage: _on_sync_page,
        Digest: _on_digest,
        DigestDiff: _on_digest_diff,
        News: _on_news,
        Leave: _on_leave,
    }
