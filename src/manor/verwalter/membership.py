"""Who belongs to the cluster, and who of them lives: cantal's answers, packets heard, and what was known before.

Everything here is told the monotonic time (`now`) and the wall clock in milliseconds; nothing is asked of the system.
A peer once counted is counted until it is forgotten, because neither cantal's own forgetting nor a cantal that has just
started may turn a minority into a majority.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from manor.verwalter.election import View
from manor.verwalter.election.messages import NodeId

HOSTS_FRESH_S = 5.0  # one slow answer of cantal, asked every second, must not cost the leadership
UNRESPONSIVE_AFTER_S = 75.0
CLOCK_JUMP_S = 2.0  # a wall clock that moved so much against the monotonic one makes its stamps worthless
PEERS_MAX = 10_000  # ten times the largest cluster we claim

_HEXADECIMAL = re.compile(r"[0-9a-f]{2,64}")


class CantalPeer(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of one entry of `/all_peers.json` that are used here; the others are skipped."""

    id: str
    hostname: str = ""
    name: str = ""
    primary_addr: str | None = None
    addresses: tuple[str, ...] = ()
    known_since: int | None = None
    last_report_direct: int | None = None
    state: str | None = None
    available: bool | None = None


class CantalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    peers: tuple[CantalPeer, ...]
    requested: int | None = None  # the agent's clock, ms


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a peer in `election.json`."""

    id: str
    name: str = ""
    last_heard: int = 0  # ms since 1970


@dataclass(frozen=True, slots=True)
class Peer:
    """One other node as this one knows it."""

    id: NodeId
    name: str
    hostname: str
    address: str | None  # an IP address; None: counted, but gets no packets
    known_since: int | None
    last_report_direct: int | None
    available: bool


@dataclass(frozen=True, slots=True)
class Rights:
    """What the flags and the state of this node allow it in elections."""

    minority_allowed: bool = False
    candidate: bool = True
    force_leader: bool = False
    resign_requested: bool = False


def host_of(address: str) -> str:
    """`10.0.0.2:22682` or `[fe80::1]:22682` -> the address alone."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


class Membership:
    """The peers of one node. `learn` each good answer of cantal, `hear` each packet, then ask for the `view`."""

    def __init__(
        self,
        own_id: NodeId,
        remembered: Sequence[Member] = (),
        *,
        hosts_fresh_s: float = HOSTS_FRESH_S,
        unresponsive_after_s: float = UNRESPONSIVE_AFTER_S,
        forget_after_s: float | None = None,
    ) -> None:
        self.own_id = own_id
        self.peers: dict[NodeId, Peer] = {}
        self.members: dict[NodeId, Member] = {member.id: member for member in remembered if member.id != own_id}
        self.members_changed = False  # since `take_members`
        self.last_good_at: float | None = None
        self.last_good_ms = 0
        self._hosts_fresh_s = hosts_fresh_s
        self._unresponsive_after_s = unresponsive_after_s
        self._forget_after_s = forget_after_s
        self._heard_at: dict[NodeId, float] = {}  # election packet or believed direct report, monotonic
        self._responsive: frozenset[NodeId] = frozenset()
        self._known: frozenset[NodeId] = frozenset(self.members)
        self._answer: CantalAnswer | None = None
        self._clocks: tuple[float, int] | None = None
        self._distrust_until = float("-inf")
        self._forgotten: frozenset[str] = frozenset()
        self._view: View | None = None
        self._view_of: tuple[bool, Rights] | None = None

    def learn(self, answer: CantalAnswer, now: float, wall_ms: int, forgotten: Iterable[str] = ()) -> None:
        """Take over a good answer; `forgotten` are ids or host names that operators named."""
        forgotten = frozenset(forgotten)
        self._watch_clocks(now, wall_ms)
        self.last_good_at, self.last_good_ms = now, wall_ms
        if answer is not self._answer or forgotten != self._forgotten:
            self._answer, self._forgotten = answer, forgotten
            self._read_peers(answer, now, wall_ms)
        self._forget_silent(now, wall_ms)
        self._update_responsive(now)

    def hear(self, peer: NodeId, now: float) -> None:
        """A packet of that peer arrived."""
        self._heard_at[peer] = now
        if peer in self._known and peer not in self._responsive:
            self._responsive |= {peer}
            self._view = None

    def fresh(self, now: float) -> bool:
        return self.last_good_at is not None and now - self.last_good_at <= self._hosts_fresh_s

    def stale_for(self, now: float) -> float:
        """Seconds since cantal's last good answer; infinite before the first."""
        return float("inf") if self.last_good_at is None else now - self.last_good_at

    def view(self, now: float, rights: Rights) -> View:
        """The same object as long as nothing has changed."""
        of = (self.fresh(now), rights)
        if self._view is None or self._view_of != of:
            self._view_of = of
            self._view = View(
                own_id=self.own_id,
                peers=self._known,
                responsive=self._responsive,
                fresh=of[0],
                minority_allowed=rights.minority_allowed,
                candidate=rights.candidate,
                force_leader=rights.force_leader,
                resign_requested=rights.resign_requested,
            )
        return self._view

    def heard_ago(self, peer: NodeId, now: float) -> float | None:
        """Seconds since anything was heard of the peer, None if never."""
        at = self._heard_at.get(peer)
        return None if at is None else now - at

    @property
    def responsive(self) -> frozenset[NodeId]:
        return self._responsive

    @property
    def known(self) -> frozenset[NodeId]:
        """All who are counted: reported now or remembered, not forgotten."""
        return self._known

    def take_members(self, now: float, wall_ms: int) -> tuple[Member, ...]:
        """The members to write to disk, with the times they were last heard brought up to date."""
        self.members_changed = False
        for peer, at in self._heard_at.items():
            if peer in self.members:
                heard_ms = max(0, wall_ms - int((now - at) * 1000))
                self.members[peer] = msgspec.structs.replace(self.members[peer], last_heard=heard_ms)
        return tuple(self.members[id] for id in sorted(self.members))

    def _watch_clocks(self, now: float, wall_ms: int) -> None:
        if self._clocks is not None:
            moved_s = (wall_ms - self._clocks[1]) / 1000 - (now - self._clocks[0])
            if abs(moved_s) > CLOCK_JUMP_S:
                self._distrust_until = now + self._unresponsive_after_s
        self._clocks = (now, wall_ms)

    def _read_peers(self, answer: CantalAnswer, now: float, wall_ms: int) -> None:
        peers: dict[NodeId, Peer] = {}
        left: set[NodeId] = set()
        stamp_ms = wall_ms if answer.requested is None else answer.requested
        for entry in answer.peers[:PEERS_MAX]:
            id = entry.id.lower()
            if id == self.own_id or _HEXADECIMAL.fullmatch(id) is None:
                continue
            if entry.state == "left" or not self._forgotten.isdisjoint((id, entry.hostname, entry.name)):
                left.add(id)
                continue
            peers[id] = _peer(id, entry)
            if entry.last_report_direct is not None and now >= self._distrust_until:
                age_s = max(0.0, (stamp_ms - entry.last_report_direct) / 1000)
                self._heard_at[id] = max(self._heard_at.get(id, float("-inf")), now - age_s)
        self.peers = peers
        self._remember(peers.values(), left, wall_ms)

    def _remember(self, peers: Iterable[Peer], left: set[NodeId], wall_ms: int) -> None:
        for peer in peers:
            known = self.members.get(peer.id)
            if known is None or (known.name != peer.name and peer.name):
                self.members[peer.id] = Member(
                    id=peer.id, name=peer.name, last_heard=known.last_heard if known else wall_ms
                )
                self.members_changed = True
        named = {member.id for member in self.members.values() if {member.id, member.name} & self._forgotten}
        for id in (left | named) & self.members.keys():
            self._drop(id)
        self._set_known()

    def _forget_silent(self, now: float, wall_ms: int) -> None:
        if self._forget_after_s is None or now < self._distrust_until:
            return
        for id, member in list(self.members.items()):
            available = id in self.peers and self.peers[id].available
            heard_ms = max(member.last_heard, wall_ms - int(1000 * (now - self._heard_at.get(id, float("-1e9")))))
            if not available and wall_ms - heard_ms > self._forget_after_s * 1000:
                self._drop(id)
        self._set_known()

    def _drop(self, id: NodeId) -> None:
        del self.members[id]
        self.peers.pop(id, None)
        self._heard_at.pop(id, None)
        self.members_changed = True

    def _set_known(self) -> None:
        known = frozenset(self.members)
        if known != self._known:
            self._known = known
            self._view = None

    def _update_responsive(self, now: float) -> None:
        """While the clocks are not believed nobody becomes silent; stamps of packets are monotonic and stay true."""
        since = now - self._unresponsive_after_s
        alive = {id for id in self._known if self._heard_at.get(id, float("-inf")) >= since}
        alive |= {id for id, peer in self.peers.items() if peer.available}
        if now < self._distrust_until:
            alive |= self._responsive & self._known
        if alive != self._responsive:
            self._responsive = frozenset(alive)
            self._view = None


def _peer(id: NodeId, entry: CantalPeer) -> Peer:
    address = entry.primary_addr or next(iter(entry.addresses), None)
    return Peer(
        id=id,
        name=entry.name or entry.hostname or id,
        hostname=entry.hostname or entry.name or id,
        address=None if address is None else host_of(address),
        known_since=entry.known_since,
        last_report_direct=entry.last_report_direct,
        available=entry.available is True,
    )


def shared_hostnames(peers: Mapping[NodeId, Peer], own_id: NodeId, own_hostname: str) -> dict[str, list[NodeId]]:
    """Host names that more than one node has, each with the ids in order; the first owns the name in the schedule."""
    owners: dict[str, list[NodeId]] = {own_hostname: [own_id]}
    for id in sorted(peers):
        owners.setdefault(peers[id].hostname, []).append(id)
    return {hostname: sorted(ids) for hostname, ids in owners.items() if len(ids) > 1}
