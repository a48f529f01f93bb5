"""Gossip as a state machine: packets, time and requests go in, actions come out. No socket, no clock, no global chance.

Theory of operation. Each second a few members are pinged (`probing.py`). One that does not answer is asked through
three others; if they cannot reach it either, it is *suspected*, and the suspicion travels. Whoever hears of it starts a
timer of its own, which further accusers shorten; when it ends, the member is *dead* (`claims.py`). A member that hears
itself doubted raises its incarnation, which overrides all older claims: only the accused can acquit itself, and it
hears of the charge from the first packet it gets, since packets to a doubted member say so (`your_rank`).

Updates ride on every packet, each a bounded number of times; what is new is also told to three members at once
(`telling.py`), so a death is known everywhere after a few network delays. What got lost is found by comparing digests
now and then, and a node that hears of a larger cluster than it knows pulls the whole table (`table_exchange.py`).

Everybody keeps two views: cluster facts (`members`, the same everywhere, seconds apart) and what it saw itself
(`observations`). One observer's failure never makes a member dead, and a link that fails one way is reported as such.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.claims import Claims, Link
from manor.cantal.gossip.joining import Joining
from manor.cantal.gossip.members import Directory, Members
from manor.cantal.gossip.messages import (
    Action,
    Digest,
    DigestDiff,
    IndirectPong,
    Leave,
    Nack,
    News,
    Packet,
    Ping,
    PingReq,
    Pong,
    Record,
    SyncPage,
    SyncRequest,
)
from manor.cantal.gossip.node import Counts, Node
from manor.cantal.gossip.numbers import GossipNumbers
from manor.cantal.gossip.observations import Hearsay, Observation
from manor.cantal.gossip.probing import Probing
from manor.cantal.gossip.table_exchange import TableExchange
from manor.cantal.gossip.telling import Telling
from manor.cantal.gossip.turn import Turn, Visit

Handler = Callable[[Any, Visit, Turn], None]


class Gossip:
    """One node's part. `now` is seconds on one monotonic clock that never goes back.

    Perform the returned actions in order; call `tick` at `wake_at`, which every call may change.
    """

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
        """
        Args:
            record: ourselves; its incarnation also numbers this process, so it grows from start to start.
            wall_ms: the time of day at `now`.
            members: a table to begin with.
        """
        self.left = False
        self._has_remote, self._scan_age_ms = False, 0
        table = members if members is not None else Members(Directory())
        node = self._node = Node(record, cluster, now=now, wall_ms=wall_ms, rng=rng, numbers=numbers, members=table)
        self._telling = Telling(node, now)
        self._claims = Claims(node, self._telling)
        self._probing = Probing(node, self._telling, self._claims)
        self._exchange = TableExchange(node, self._telling, self._claims, now)
        self._joining = Joining(node, self._probing)
        self._claims.on_larger_cluster = self._exchange.start_pull
        self._probing.on_answer = self._joining.answered
        self._handlers: Mapping[type, Handler] = {
            Ping: self._probing.on_ping,
            Pong: self._probing.on_pong,
            PingReq: self._probing.on_ping_req,
            IndirectPong: self._probing.on_indirect_pong,
            Nack: self._probing.on_nack,
            SyncRequest: self._exchange.on_sync_request,
            SyncPage: self._exchange.on_sync_page,
            Digest: self._exchange.on_digest,
            DigestDiff: self._exchange.on_digest_diff,
            Leave: self._claims.on_leave,
            News: lambda body, visit, turn: None,  # all there is to it is in the common fields
        }
        self._refresh_report(now)
        timers = node.timers
        timers.at(now + numbers.probe_interval * rng.random(), self._round)
        timers.at(now + self._digest_pause(), self._compare)
        timers.at(now + numbers.dead_probe_interval * (0.5 + rng.random()), self._try_gone)
        timers.at(now + numbers.seed_retry, self._retry_stored)
        timers.at(now + bounds.UPKEEP_EVERY_S, self._upkeep)

    # --- what the shell calls -------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float:
        """When `tick` is due."""
        return self._node.timers.next_at

    def receive(self, packet: Packet, source: str, now: float) -> list[Action]:
        """A packet came from an address."""
        node, turn = self._node, Turn(now)
        if self.left:
            return turn.actions
        if packet.cluster != node.cluster:
            node.counts.foreign_cluster += 1
            return turn.actions
        if packet.sender == node.record.id:
            self._joining.meet_own_id(packet, source, turn)
            return turn.actions
        seen = node.observe(packet.sender)
        if seen is None or not seen.accepts(packet.start, packet.counter):
            node.counts.repeated += 1
            return turn.actions
        visit = Visit(packet.sender, source, seen)
        if packet.your_rank is not None:
            self._claims.defend(packet.your_rank, turn)
        wanted = self._claims.hear_updates(packet.updates, turn) if packet.updates else None
        for entry in packet.records:
            self._claims.hear_entry(entry, packet.sender, turn)
        self._handlers[type(packet.body)](packet.body, visit, turn)
        if packet.wanted:
            self._telling.give_records(packet.wanted, visit, turn)
        if wanted:
            self._telling.ask_records(wanted, visit, turn)
        if turn.news:
            self._telling.spread(turn)
        return turn.actions

    def tick(self, now: float) -> list[Action]:
        """Time passed. Late by more than a round means that we stood still, not that everybody else died."""
        node, turn = self._node, Turn(now)
        if self.left:
            return turn.actions
        if now - node.timers.next_at > node.numbers.probe_interval:
            node.counts.voided += 1
            self._probing.void()
            self._claims.void(now)
        node.timers.run_due(turn)
        return self._finished(turn)

    def add_host(self, address: str, now: float) -> list[Action]:
        """Get to know whoever listens at the address: `HostAnswered`, or `HostSilent` after the last retry."""
        turn = Turn(now)
        if not self.left:
            self._joining.add_host(address, turn)
        return turn.actions

    def restore(self, records: Iterable[Record], addresses: Iterable[str], now: float) -> None:
        """Members and addresses of an earlier life."""
        self._joining.restore(records, addresses, now)

    def leave(self, now: float) -> list[Action]:
        """Say goodbye to some members and fall silent."""
        turn = Turn(now)
        for member in self._node.random_alive(bounds.LEAVE_TO):
            self._telling.send(member, Leave(self._node.record.incarnation), 16, turn)
        self.left = True
        return turn.actions

    def remove(self, member: bytes, now: float) -> list[Action]:
        """Forget a dead or left member everywhere. The caller has checked its state."""
        turn = Turn(now)
        self._claims.remove(member, turn)
        return self._finished(turn)

    def set_addresses(self, addresses: tuple[str, ...], now: float) -> list[Action]:
        """Our own addresses changed: a new incarnation tells everybody."""
        turn, record = Turn(now), self._node.record
        if addresses != record.addresses:
            moved = msgspec.structs.replace(record, addresses=addresses)
            self._claims.raise_incarnation(moved, record.incarnation, turn)
        return self._finished(turn)

    def set_condition(self, *, has_remote: bool, scan_age_ms: int) -> None:
        """What the next reports say of this node."""
        self._has_remote, self._scan_age_ms = has_remote, scan_age_ms

    def forget_contact(self, member: bytes, address: str) -> None:
        """Somebody else answered at this address (the mesh found out): do not take it for the member's any more."""
        seen = self._node.observations.get(member)
        if seen is not None and seen.primary == address:
            seen.primary = None

    # --- what others may ask --------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        return self._node.record

    @property
    def members(self) -> Members:
        return self._node.members

    @property
    def observations(self) -> Mapping[bytes, Observation]:
        return self._node.observations

    @property
    def hearsay(self) -> Mapping[bytes, Hearsay]:
        return self._node.hearsay

    @property
    def health(self) -> int:
        return self._node.health

    @property
    def counts(self) -> Counts:
        return self._node.counts

    @property
    def duplicate_address(self) -> str | None:
        """Where another machine with our id was met."""
        return self._joining.duplicate_address

    def suspected_by(self, member: bytes) -> tuple[bytes, ...]:
        slot = self._node.members.slot(member)
        suspicion = self._claims.suspicions.get(slot) if slot is not None else None
        return suspicion.sources if suspicion is not None else ()

    def links(self, now: float) -> list[Link]:
        """Bad links of the whole cluster."""
        return self._claims.links(now)

    def stale(self, now: float) -> int:
        return self._claims.stale(now)

    # --- rhythms --------------------------------------------------------------------------------------------------

    def _round(self, _: None, turn: Turn) -> None:
        pause_s = self._node.numbers.probe_interval * (0.9 + 0.2 * self._node.rng.random())
        self._node.timers.at(turn.now + pause_s, self._round)
        self._refresh_report(turn.now)
        self._probing.round(turn)

    def _compare(self, _: None, turn: Turn) -> None:
        self._node.timers.at(turn.now + self._digest_pause(), self._compare)
        self._exchange.compare(turn)

    def _try_gone(self, _: None, turn: Turn) -> None:
        numbers, chance = self._node.numbers, self._node.rng.random
        self._node.timers.at(turn.now + numbers.dead_probe_interval * (0.5 + chance()), self._try_gone)
        if chance() < numbers.dead_probe_chance(len(self._node.members)):
            self._probing.try_gone(turn)

    def _retry_stored(self, _: None, turn: Turn) -> None:
        self._node.timers.at(turn.now + self._node.numbers.seed_retry, self._retry_stored)
        self._joining.retry_stored(turn)

    def _upkeep(self, _: None, turn: Turn) -> None:
        """What nobody asked for any more is forgotten."""
        self._node.timers.at(turn.now + bounds.UPKEEP_EVERY_S, self._upkeep)
        self._probing.forget_old(turn.now)
        self._telling.forget_old(turn.now)
        self._claims.forget_old(turn)

    def _digest_pause(self) -> float:
        return self._node.numbers.digest_interval * (0.5 + self._node.rng.random())

    def _refresh_report(self, now: float) -> None:
        self._claims.refresh_report(now, has_remote=self._has_remote, scan_age_ms=self._scan_age_ms)

    def _finished(self, turn: Turn) -> list[Action]:
        if turn.news:
            self._telling.spread(turn)
        return turn.actions
