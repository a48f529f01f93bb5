"""One daemon from the inside: its cores, what it knows, and how what happens to one of them reaches the others.

Theory of operation. Nothing here blocks or waits: the shells in `links/` call a method when a packet, an answer or a
moment has come, and the method tells the cores, in this order: membership, election, transport; then carries their
actions out through the `Outside` it was given. All methods run in the event loop's thread, so there are no locks.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from manor.trust.keys import ClusterKeys, PurposeKeys
from manor.verwalter.actions import PendingActions
from manor.verwalter.deploy import Deployer
from manor.verwalter.election import (
    Confirm,
    Election,
    Persist,
    Ping,
    PingAll,
    Pong,
    SendPong,
    View,
    Vote,
    VoteAll,
)
from manor.verwalter.election.machine import Leader
from manor.verwalter.election.messages import Action as ElectionAction
from manor.verwalter.election.messages import Message, NodeId
from manor.verwalter.identity import Identity
from manor.verwalter.membership import CantalAnswer, Membership, Rights, shared_hostnames
from manor.verwalter.metadata import Tree
from manor.verwalter.packets import BadPacket, Packet, ReplayWindow, decode, encode
from manor.verwalter.round_input import KnownPeer, Situation, address_of
from manor.verwalter.rounds import RoundClock, RoundTimes
from manor.verwalter.schedule import Envelope, Stamp
from manor.verwalter.settings import Settings
from manor.verwalter.state_files import DiskTrouble, ElectionState, Storage
from manor.verwalter.succession import NOTHING, Succession
from manor.verwalter.transport import Adopt, Fetch, FetchNumbers, ParentsReady, Transport
from manor.verwalter.transport.core import Action as TransportAction

log = logging.getLogger(__name__)

CANTAL_DOWN_AFTER_S: Final = 3.0
PACKET_LOG_EVERY_S: Final = 60.0
SOURCES_MAX: Final = 1_000  # of bad packets, for the log


class Outside(Protocol):
    """What a node can make happen. None of it waits."""

    def send(self, address: str, packet: bytes) -> None: ...

    def fetch(self, order: Fetch, address: str) -> None: ...

    def changed(self) -> None:
        """Something happened: timers, reports and rounds should look again."""


@dataclass(slots=True)
class Heard:
    """What a peer said last."""

    stamp: Stamp | None = None
    errors: int = 0


@dataclass(slots=True)
class Leadership:
    """The rounds of one stable leadership."""

    parents: tuple[Envelope, ...]  # of the first round
    times: RoundTimes
    late: tuple[Envelope, ...] = ()  # parents that came later and that no successful round has had yet
    clock: RoundClock = field(default_factory=RoundClock)
    input: dict[str, Any] | None = None  # of the last round
    debug_log: str = ""


@dataclass(slots=True)
class Figures:
    """Numbers of the daemon's life, for the status."""

    scheduling_ms: float = 0.0
    rounds_succeeded: int = 0
    rounds_failed: int = 0
    actions_executed: int = 0
    bad_packets: Counter[str] = field(default_factory=Counter)


class Node:
    """The cores of one daemon, wired to each other."""

    def __init__(
        self, identity: Identity, settings: Settings, storage: Storage, cluster_keys: ClusterKeys | None
    ) -> None:
        now = time.monotonic()
        self.identity = identity
        self.settings = settings
        self.storage = storage
        self.cluster_keys = cluster_keys
        self.errors: dict[str, str] = {}
        self.figures = Figures()
        self.actions = PendingActions()
        self.runtime = Tree({}, ())
        self.machine: Any = {}
        self.own_report: dict[str, Any] | None = None
        self.reports: dict[NodeId, dict[str, Any]] = {}  # of other nodes, while this one leads
        self.leadership: Leadership | None = None
        self.scheduler_loaded = False
        self.force_leader = False
        self.resign_requested = False
        self.metrics_error: str | None = None
        self.leader_seen_ms: int | None = None
        self.heard: dict[NodeId, Heard] = {}
        self.deployer: Deployer
        self.outside: Outside
        self._started_at = now
        self._boot = secrets.token_bytes(8)
        self._seq = 0
        self._window = ReplayWindow()
        self._logged_at: dict[str, float] = {}
        self._misshapen: dict[str, str | None] = {}
        self._debug_log: str | None = None  # of the round that made the stable schedule
        self._read_disk(now)

    def _read_disk(self, now: float) -> None:
        state, trouble = self.storage.read_election()
        if trouble is not None:
            log.warning("election.unreadable reason=%s", trouble)
        envelope, trouble = self.storage.read_schedule(self.settings.scheduler.max_schedule)
        if trouble is not None:
            self.errors["disk"] = trouble
            log.warning("schedule.unreadable reason=%s", trouble)
        times, fetch = self.settings.election, self.settings.fetch
        self.membership = Membership(
            self.identity.id,
            state.members,
            hosts_fresh_s=times.hosts_fresh,
            unresponsive_after_s=times.unresponsive_after,
            forget_after_s=self.settings.forget_after,
        )
        rng = random.Random(secrets.randbits(64))
        self.election = Election(self.identity.id, times.numbers(), rng, now, state.epoch, state.voted_for)
        numbers = FetchNumbers(prefetch_min_s=fetch.prefetch_min, prefetch_max_s=fetch.prefetch_max)
        self.transport = Transport(self.identity.id, rng, envelope, numbers)
        self._succession = Succession(self.election, self.transport)

    # What happens.

    def tick(self, now: float) -> None:
        """Timers of both machines."""
        self._perform(self.election.tick(now, self.view(now)))
        self._follow_election(now)
        self._carry(self.transport.tick(now))

    def receive(self, data: bytes, address: str, now: float) -> None:
        """One datagram from an IP address."""
        try:
            packet = decode(data, self.packet_keys)
            self._check(packet, address)
        except BadPacket as error:
            self._note_bad_packet(address, str(error), now)
            return
        self.membership.hear(packet.sender, now)
        self.heard[packet.sender] = Heard(packet.schedule, packet.errors)
        known = self.membership.peers.get(packet.sender)
        reply_to = known.address if known is not None else (address if packet.sealed else None)
        self._perform(self.election.receive(packet.message, packet.sender, now, self.view(now)), reply_to)
        self._follow_election(now)
        if isinstance(packet.message, Ping) and self.election.leader == packet.sender:
            self._carry(self.transport.announced(packet.sender, packet.schedule, now))
        elif isinstance(packet.message, Pong) and self.is_leader and packet.message.epoch == self.election.epoch:
            self._carry(self.transport.ponged(packet.sender, packet.schedule, now))

    def learn(self, answer: CantalAnswer, now: float, wall_ms: int) -> None:
        """A good answer of cantal."""
        before = self.membership.known
        self.membership.learn(answer, now, wall_ms, self._forgotten())
        self.transport.nodes = 1 + len(self.membership.known)
        self.errors.pop("cantal", None)
        shared = shared_hostnames(self.membership.peers, self.identity.id, self.identity.hostname)
        self.set_misshapen("names", _shared_names(shared) if shared and self.is_leader else None)
        if self.membership.members_changed:
            self.write_election()
        if self.membership.known != before:
            self.wake_round(now)

    def cantal_failed(self, reason: str, now: float) -> None:
        """No answer, or nonsense; the last view is kept as long as it is fresh."""
        if self.membership.stale_for(now) >= CANTAL_DOWN_AFTER_S:
            self.set_error("cantal", reason)

    def fetched(self, envelope: Envelope, source: NodeId, now: float) -> None:
        self._carry(self.transport.fetched(envelope, source, now))
        if self.transport.has_late_parents:
            self.wake_round(now)

    def fetch_failed(self, order: Fetch, reason: str, holders: Iterable[str], now: float) -> None:
        """`holders` are addresses that the asked node named."""
        log.info("schedule.download_failed reason=%s", reason)
        by_address = {address_of(peer, self.identity.port): id for id, peer in self.membership.peers.items()}
        named = [by_address[holder] for holder in holders if holder in by_address]
        self._carry(self.transport.failed(order.hash, order.source, now, named))

    def published(self, envelope: Envelope, debug_log: str) -> None:
        """A round of this leader succeeded."""
        self._debug_log = debug_log
        self._carry(self.transport.published(envelope))

    def wake_round(self, now: float) -> None:
        """Something changed that the scheduler should see."""
        if self.leadership is not None:
            self.leadership.times.wake(now)
            self.outside.changed()

    def resign(self) -> None:
        """Give the leadership up at the next beat."""
        self.resign_requested = True

    # What others ask.

    @property
    def is_leader(self) -> bool:
        return isinstance(self.election.state, Leader)

    def view(self, now: float) -> View:
        rights = Rights(
            minority_allowed=self.settings.allow_minority_cluster,
            candidate=self.settings.candidate and self.scheduler_loaded,
            force_leader=self.force_leader,
            resign_requested=self.resign_requested,
        )
        return self.membership.view(now, rights)

    def wake_at(self) -> float:
        return min(self.election.wake_at, self.transport.wake_at)

    def errors_counted(self) -> int:
        return len(self.errors) + len(self.deployer.failed)

    def leader_address(self) -> str | None:
        """Where the leader's API answers, as far as this node knows."""
        leader = self.election.leader
        if leader == self.identity.id:
            return self.identity.address
        peer = self.membership.peers.get(leader) if leader is not None else None
        return None if peer is None else address_of(peer, self.identity.port)

    def known_peers(self, now: float) -> list[KnownPeer]:
        """All peers cantal lists, with what was heard of them."""
        found = []
        for id, peer in sorted(self.membership.peers.items()):
            ago_s = self.membership.heard_ago(id, now)
            said = self.heard.get(id, Heard())
            found.append(
                KnownPeer(
                    peer=peer,
                    responsive=id in self.membership.responsive,
                    age_ms=int(1000 * (now - self._started_at if ago_s is None else ago_s)),
                    stamp=said.stamp,
                    errors=said.errors,
                    report=self.reports.get(id),
                )
            )
        return found

    def situation(self, now: float, now_ms: int, parents: Sequence[Envelope], actions: Mapping[str, Any]) -> Situation:
        """Everything a round may know."""
        identity, membership = self.identity, self.membership
        return Situation(
            now_ms=now_ms,
            own_id=identity.id,
            own_hostname=identity.hostname,
            own_name=identity.name,
            own_address=identity.address,
            own_errors=self.errors_counted(),
            own_report=self.own_report if self.is_leader else None,
            port=identity.port,
            cluster=identity.cluster,
            dc=identity.dc,
            epoch=self.election.epoch,
            round=self.leadership.times.number if self.leadership is not None else 0,
            parents=parents,
            actions=actions,
            runtime=self.runtime,
            peers=self.known_peers(now),
            counted=1 + len(membership.known),
            responsive=1 + len(membership.responsive),
            minority_allowed=self.settings.allow_minority_cluster,
            limits=self.settings.scheduler,
            metrics_error=self.metrics_error,
        )

    @property
    def packet_keys(self) -> PurposeKeys | None:
        return None if self.cluster_keys is None else self.cluster_keys.purpose("election")

    @property
    def request_keys(self) -> PurposeKeys | None:
        """For signing requests to other nodes."""
        return None if self.cluster_keys is None else self.cluster_keys.purpose("node-report")

    # Carrying out what the cores want.

    def _perform(self, actions: list[ElectionAction], reply_to: str | None = None) -> None:
        """In order. What was not written to the disk must not be promised: votes stay here then."""
        written = True
        for action in actions:
            match action:
                case Persist():
                    written = self.write_election()
                case PingAll(epoch):
                    self._send_all(Ping(epoch))
                case VoteAll(epoch, answered) if written:
                    self._send_all(Vote(epoch, self.identity.id), without=answered)
                case Confirm(epoch, target) if written:
                    self._send(target, Vote(epoch, target), reply_to)
                case SendPong(epoch, leader):
                    self._send(leader, Pong(epoch), reply_to)
        if actions:
            self.outside.changed()

    def write_election(self) -> bool:
        now, wall_ms = time.monotonic(), int(time.time() * 1000)
        state = ElectionState(
            epoch=self.election.epoch,
            voted_for=self.election.voted_for,
            members=self.membership.take_members(now, wall_ms),
        )
        try:
            self.storage.write_election(state)
        except DiskTrouble as error:
            self.set_error("disk", str(error))
            return False
        return True

    def _send_all(self, message: Message, without: frozenset[NodeId] = frozenset()) -> None:
        """Encoded and sealed once, whatever the number of peers."""
        packet = self._packet(message)
        for id, peer in self.membership.peers.items():
            if peer.address is not None and id not in without:
                self.outside.send(peer.address, packet)

    def _send(self, target: NodeId, message: Message, reply_to: str | None) -> None:
        peer = self.membership.peers.get(target)
        address = peer.address if peer is not None else reply_to
        if address is not None:
            self.outside.send(address, self._packet(message))

    def _packet(self, message: Message) -> bytes:
        self._seq += 1
        stamp = self.transport.next_pong_stamp() if isinstance(message, Pong) else self.transport.stamp
        packet = Packet(
            sender=self.identity.id,
            message=message,
            cluster=self.identity.cluster,
            dc=self.identity.dc,
            boot=self._boot,
            seq=self._seq,
            schedule=stamp,
            errors=self.errors_counted() if isinstance(message, Pong) else 0,
        )
        return encode(packet, self.packet_keys)

    def _follow_election(self, now: float) -> None:
        """Tell the transport, and whoever waits for rounds or actions, who leads."""
        change = self._succession.look(self.membership.responsive, now)
        if change.ended:
            self._end_leadership()
        if change is not NOTHING:
            log.warning("leader.changed epoch=%s leader=%s", self.election.epoch, self.election.leader or "none")
            self.outside.changed()
        self._carry(change.actions)
        if self.election.leader is not None:
            self.leader_seen_ms = int(time.time() * 1000)
        if not self.is_leader:
            self.resign_requested = False

    def _end_leadership(self) -> None:
        self.leadership = None
        self.reports.clear()
        for domain in ("scheduler", "metrics"):
            self.errors.pop(domain, None)
        self.set_misshapen("round", None)
        lost = self.actions.lose_all()
        log.warning("leader.lost epoch=%s reason=%s", self.election.epoch, self.election.changes[-1].reason)
        if lost:
            log.warning("actions.lost ids=%s", ",".join(lost))

    def _carry(self, actions: Sequence[TransportAction]) -> None:
        for action in actions:
            match action:
                case Fetch(source=source):
                    self._fetch(action, source)
                case Adopt(envelope, is_new):
                    self._adopt(envelope, is_new)
                case ParentsReady():
                    self._begin_rounds(action)
        if actions:
            self.outside.changed()

    def _fetch(self, order: Fetch, source: NodeId) -> None:
        peer = self.membership.peers.get(source)
        address = None if peer is None else address_of(peer, self.identity.port)
        if address is None:
            self._carry(self.transport.failed(order.hash, source, time.monotonic()))
        else:
            self.outside.fetch(order, address)

    def _adopt(self, envelope: Envelope, is_new: bool) -> None:
        if is_new:
            try:
                self.storage.write_schedule(envelope)
            except DiskTrouble as error:
                self.set_error("disk", str(error))
            else:
                self.errors.pop("disk", None)
        log.info("schedule.stable hash=%s epoch=%s origin=%s", envelope.hash[:8], envelope.epoch, envelope.origin)
        self.deployer.want(envelope, self._debug_log if self.is_leader else None)

    def _begin_rounds(self, ready: ParentsReady) -> None:
        for hash, holders in ready.missing:
            log.error("parent.missing hash=%s holders=%s", hash, ",".join(holders))
        for hash in ready.left_out:
            log.info("parent.left_out hash=%s", hash)
        now = time.monotonic()
        self.leadership = Leadership(ready.parents, RoundTimes(self.settings.scheduler.round_interval, next_at=now))
        log.warning("leader.stable epoch=%s parents=%s", self.election.epoch, len(ready.parents))

    # Small things.

    def _check(self, packet: Packet, address: str) -> None:
        """Raises BadPacket for what is not for this node, or not from whom it says."""
        if (packet.cluster, packet.dc) != (self.identity.cluster, self.identity.dc):
            raise BadPacket(f"of cluster {packet.cluster}, data centre {packet.dc}")
        if packet.sender == self.identity.id:
            self.set_error("packets", f"machine id {packet.sender} is also used by {address}")
            raise BadPacket("bears the machine id of this node")
        if not packet.sealed:
            peer = self.membership.peers.get(packet.sender)
            if peer is None or peer.address != address:
                raise BadPacket(f"of {packet.sender}, whom cantal does not know under this address")
        if not self._window.accept(packet):
            raise BadPacket("came before")

    def set_misshapen(self, source: str, text: str | None) -> None:
        """The error `schedule_shape` has two sources, the names of nodes and the result of a round."""
        self._misshapen[source] = text
        self.set_error("schedule_shape", "; ".join(filter(None, self._misshapen.values())) or None)

    def _note_bad_packet(self, address: str, reason: str, now: float) -> None:
        self.figures.bad_packets[reason.split(";")[0][:40]] += 1
        if now - self._logged_at.get(address, float("-inf")) >= PACKET_LOG_EVERY_S:
            if len(self._logged_at) >= SOURCES_MAX:
                self._logged_at.clear()
            self._logged_at[address] = now
            log.warning("packet.dropped source=%s reason=%s", address, reason)

    def _forgotten(self) -> list[str]:
        """Nodes that operators told the scheduler to forget; it keeps them in its state, so that all nodes agree."""
        known = self.transport.last_known
        state = known.data.get("state") if known is not None else None
        cluster = state.get("_cluster") if isinstance(state, dict) else None
        forgotten = cluster.get("forgotten") if isinstance(cluster, dict) else None
        return [name for name in forgotten if isinstance(name, str)] if isinstance(forgotten, dict | list) else []

    def set_error(self, domain: str, text: str | None) -> None:
        """Set or take away the error of a domain; only changes are logged."""
        if text is None:
            self.errors.pop(domain, None)
        elif self.errors.get(domain) != text:
            self.errors[domain] = text
            log.error("error domain=%s text=%s", domain, text)


def _shared_names(shared: Mapping[str, Sequence[str]]) -> str:
    names = "; ".join(f"{name}: {', '.join(ids)}" for name, ids in sorted(shared.items()))
    return f"nodes share a host name, the first id owns it: {names}"
