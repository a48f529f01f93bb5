"""Who answers: a few pings each round, help from others where one fails, an accusation where all fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.claims import Claims
from manor.cantal.gossip.messages import (
    STATE_MASK,
    Direction,
    IndirectPong,
    Nack,
    Ping,
    PingReq,
    Pong,
    Record,
    State,
)
from manor.cantal.gossip.node import ALIVE, Node
from manor.cantal.gossip.observations import Observation
from manor.cantal.gossip.telling import Telling
from manor.cantal.gossip.turn import Turn, Visit


class Probe:
    """A question whether a member answers: a ping, and what was sent to help it."""

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


@dataclass(slots=True)
class Relay:
    """A ping sent for somebody else."""

    asker: str
    seq: int
    target: bytes
    sent_at: float


class Probing:
    """All pings of one node, and its answers to those of others."""

    def __init__(self, node: Node, telling: Telling, claims: Claims) -> None:
        self.on_answer: Callable[[str, bytes, Turn], None] = lambda address, member, turn: None
        self._node = node
        self._telling = telling
        self._claims = claims
        self._ring_at = int(node.rng.random() * (len(node.members.ring) + 1))
        self._seq = 0
        self._pings: dict[int, Pinged] = {}
        self._probing: set[bytes] = set()  # members with an accusing probe under way
        self._trying: set[str] = set()  # addresses with a ping under way whose failure means nothing
        self._relays: dict[int, Relay] = {}
        self._seen: dict[bytes, list[int]] = {}  # direct pings of the last seconds, by sender
        self._seen_by_age: deque[tuple[float, bytes]] = deque()
        self._round_is_clean = True

    # --- asking ---------------------------------------------------------------------------------------------------

    def round(self, turn: Turn) -> None:
        """Probe the next members of the ring."""
        self._round_is_clean = True
        members = self._node.members
        ring, ranks, size = members.ring, members.ranks, len(members.ring)
        left = self._node.numbers.probes_in_round(members.available)
        for _ in range(size):
            if left == 0:
                break
            self._ring_at = (self._ring_at + 1) % size
            slot = ring[self._ring_at]
            if ranks[slot] & STATE_MASK in (ALIVE, State.SUSPECT):
                left -= 1
                member = members.directory.ids[slot]
                if member not in self._probing:
                    self._probe(member, turn)

    def _probe(self, member: bytes, turn: Turn) -> None:
        node, numbers = self._node, self._node.numbers
        seen, address = node.observe(member), node.address_of(member)
        if seen is None or address is None:
            return
        probe = Probe(member, address, accuses=True)
        probe.deadline_at = turn.now + numbers.probe_deadline * (1 + node.health)
        self._probing.add(member)
        seq = self._ping(probe, address, seen, turn)
        usual_s = numbers.probe_timeout_min if seen.smoothed_s is None else 4 * seen.smoothed_s
        timeout_s = min(max(usual_s, numbers.probe_timeout_min), numbers.probe_timeout_max) * (1 + node.health)
        node.timers.at(turn.now + timeout_s, self._late, seq)

    def try_address(self, address: str, target: bytes | None, turn: Turn) -> None:
        """A ping whose failure means nothing."""
        if len(self._pings) >= bounds.TRIES_MAX:
            return
        self._trying.add(address)
        seen = self._node.observations.get(target) if target is not None else None
        seq = self._ping(Probe(target, address, accuses=False), address, seen, turn)
        longest_s = self._node.numbers.probe_deadline * (1 + bounds.HEALTH_MAX)
        self._node.timers.at(turn.now + longest_s, self._drop_try, seq)

    def try_member(self, member: bytes, turn: Turn) -> None:
        address = self._node.address_of(member)
        if address is not None:
            self.try_address(address, member, turn)

    def _drop_try(self, seq: int, _: Turn) -> None:
        pinged = self._pings.pop(seq, None)
        if pinged is not None:
            self._trying.discard(pinged.address)

    def _ping(self, probe: Probe, address: str, seen: Observation | None, turn: Turn) -> int:
        """Send a ping that belongs to a probe; its number."""
        self._seq += 1
        probe.seqs.append(self._seq)
        self._pings[self._seq] = Pinged(probe, address, turn.now)
        if seen is not None:
            seen.probes_sent += 1
            seen.probe_at, seen.probe_address = turn.now, address
        ping = Ping(self._seq, self._node.record, self._node.report, probe.target)
        telling = self._telling
        turn.send(address, telling.packet(ping, telling.greeting_bytes, probe.target, turn.now, friends=True))
        return self._seq

    def _late(self, seq: int, turn: Turn) -> None:
        """The direct ping was not answered in time: ask others, and try another address."""
        pinged = self._pings.get(seq)
        if pinged is None or pinged.probe.target is None:
            return
        node, probe, target = self._node, pinged.probe, pinged.probe.target
        slot = node.members.slot(target)
        if slot is None:
            self._end(probe)
            return
        record: Record = node.members.records[slot]
        addresses = tuple(dict.fromkeys((probe.address, *record.addresses)))[: bounds.ADDRESSES_MAX]
        patience_ms = max(1, int((probe.deadline_at - turn.now) * 1000))
        request = PingReq(seq, target, addresses, patience_ms)
        probe.relays = tuple(node.random_alive(node.numbers.indirect_probes, without=target))
        for relay in probe.relays:
            self._telling.send(relay, request, 60 + 19 * len(addresses), turn)
        others = [address for address in addresses if address != probe.address]
        if others:
            other = others[int(node.rng.random() * len(others))]
            self._ping(probe, other, node.observations.get(target), turn)
        node.timers.at(probe.deadline_at, self._failed, probe)

    def _failed(self, probe: Probe, turn: Turn) -> None:
        for seq in probe.seqs:
            self._pings.pop(seq, None)
        if probe.over or probe.target is None:
            return
        self._end(probe)
        if probe.nacks < len(probe.relays) and self._round_is_clean:
            self._round_is_clean = False
            self._node.feel_worse()
        suspected = self._claims.suspect(probe.target, turn)
        if suspected is not None:
            self._node.timers.at(turn.now + bounds.ACCUSED_PING_EVERY_S, self._ping_accused, suspected)

    def _ping_accused(self, accused: tuple[int, int], turn: Turn) -> None:
        """As long as our own suspicion runs, its subject is told once a second."""
        slot, rank = accused
        if self._node.members.ranks[slot] != rank or slot not in self._claims.suspicions:
            return
        self.try_member(self._node.members.directory.ids[slot], turn)
        self._node.timers.at(turn.now + bounds.ACCUSED_PING_EVERY_S, self._ping_accused, accused)

    def _end(self, probe: Probe) -> None:
        probe.over = True
        if probe.accuses and probe.target is not None:
            self._probing.discard(probe.target)
        else:
            self._trying.discard(probe.address)

    def try_gone(self, turn: Turn) -> None:
        """Now and then one that is not available gets another chance."""
        members = self._node.members
        candidates = [slot for slot in members.gone if members.ranks[slot] & STATE_MASK < State.LEFT]
        if candidates:
            slot = candidates[int(self._node.rng.random() * len(candidates))]
            self.try_member(members.directory.ids[slot], turn)

    def void(self) -> None:
        """We stood still: what was asked before means nothing now."""
        self._pings.clear()
        self._probing.clear()
        self._trying.clear()
        self._relays.clear()

    # --- answering ------------------------------------------------------------------------------------------------

    def on_ping(self, body: Ping, visit: Visit, turn: Turn) -> None:
        node, seen, sender = self._node, visit.seen, visit.sender
        seen.pings_received += 1
        answered = seen.answered_start == seen.start
        known_before = seen.answered_start != 0
        if body.record.id == sender:
            self._claims.meet(body.record, body.report, direct=answered, turn=turn)
        if answered:
            seen.direct_at, seen.primary = turn.now, visit.address
        got_direct = False
        if body.asked_by is None:
            self._note_ping(sender, body.seq, turn.now)
        else:
            asker, seq = body.asked_by
            got_direct = seq in self._seen.get(asker, ())
        pong = Pong(body.seq, node.record, node.report, len(self._seen.get(sender, ())), got_direct)
        turn.send(visit.address, self._telling.packet(pong, self._telling.greeting_bytes, sender, turn.now))
        asked = sender in self._probing or visit.address in self._trying
        if not answered and not asked and (known_before or not node.is_available(sender)):
            self.try_address(visit.address, sender, turn)

    def on_pong(self, body: Pong, visit: Visit, turn: Turn) -> None:
        pinged = self._pings.pop(body.seq, None)
        if pinged is None:
            self._on_relayed_pong(body, visit, turn)
            return
        node, probe, seen = self._node, pinged.probe, visit.seen
        if probe.target is None or probe.target == visit.sender:
            # else somebody else lives there now, and the target itself did not answer
            if probe.accuses and not probe.relays:
                node.feel_better()
            self._end(probe)
        seen.answered(address=pinged.address, sent_at=pinged.sent_at, now=turn.now)
        self.on_answer(pinged.address, visit.sender, turn)
        if body.record.id == visit.sender:
            seen.direct_at = turn.now
            self._claims.meet(body.record, body.report, direct=True, turn=turn)
        if probe.target is None and node.state(visit.sender) not in (None, ALIVE):
            self.try_address(pinged.address, visit.sender, turn)  # tells it what is said of it

    def _on_relayed_pong(self, body: Pong, visit: Visit, turn: Turn) -> None:
        relay = self._relays.get(body.seq)
        if relay is None or relay.target != visit.sender:
            return
        del self._relays[body.seq]
        took_ms = int((turn.now - relay.sent_at) * 1000)
        answer = IndirectPong(relay.seq, visit.sender, body.got_direct, took_ms)
        turn.send(relay.asker, self._telling.packet(answer, 40, None, turn.now))
        if body.record.id == visit.sender:
            visit.seen.answered_start = visit.seen.start
            visit.seen.direct_at = turn.now
            self._claims.meet(body.record, body.report, direct=True, turn=turn)

    def on_ping_req(self, body: PingReq, visit: Visit, turn: Turn) -> None:
        node = self._node
        address = node.address_of(body.target) or (body.addresses[0] if body.addresses else None)
        if address is None or len(self._relays) >= bounds.RELAYS_MAX or body.target == node.record.id:
            return
        self._seq += 1
        self._relays[self._seq] = Relay(visit.address, body.seq, body.target, turn.now)
        ping = Ping(self._seq, node.record, node.report, body.target, asked_by=(visit.sender, body.seq))
        turn.send(address, self._telling.packet(ping, self._telling.greeting_bytes + 30, body.target, turn.now))
        patience_s = min(body.patience_ms / 1000, node.numbers.probe_deadline * (1 + bounds.HEALTH_MAX))
        node.timers.at(turn.now + 0.8 * patience_s, self._relay_late, self._seq)

    def _relay_late(self, seq: int, turn: Turn) -> None:
        relay = self._relays.pop(seq, None)
        if relay is not None:
            turn.send(relay.asker, self._telling.packet(Nack(relay.seq, relay.target), 30, None, turn.now))

    def on_nack(self, body: Nack, visit: Visit, _: Turn) -> None:
        pinged = self._pings.get(body.seq)
        if pinged is not None and visit.sender in pinged.probe.relays:
            pinged.probe.nacks += 1

    def on_indirect_pong(self, body: IndirectPong, visit: Visit, turn: Turn) -> None:
        pinged = self._pings.get(body.seq)
        if pinged is None or pinged.probe.over or pinged.probe.target != body.target:
            return
        if visit.sender not in pinged.probe.relays:
            return
        self._end(pinged.probe)
        target = self._node.observations.get(body.target)
        if target is not None:
            self._node.bad_links[body.target] = target
            target.reached_indirectly(Direction.REPLY_LOST if body.got_direct else Direction.REQUEST_LOST, turn.now)

    def _note_ping(self, sender: bytes, seq: int, now: float) -> None:
        self._seen.setdefault(sender, []).append(seq)
        self._seen_by_age.append((now, sender))
        self.forget_old(now)

    def forget_old(self, now: float) -> None:
        old = self._seen_by_age
        while old and now - old[0][0] > bounds.RECENT_PINGS_S:
            _, sender = old.popleft()
            seqs = self._seen[sender]
            del seqs[0]
            if not seqs:
                del self._seen[sender]
