"""What travels between the agents, as objects. The codec makes datagrams of them, the simulation takes them as is.

A claim about a member is one number, its *rank*: the incarnation shifted left by three bits plus the state. Comparing
ranks is the whole rule of precedence: the higher incarnation wins, at equal incarnation left > dead > suspect > alive,
and equal never overrides equal.

`wire_bytes` is an upper bound of what a thing takes in a packet; the core fills packets by it and never encodes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec


class State(IntEnum):
    """What the cluster says of a member; the order is the precedence at equal incarnation."""

    UNCONFIRMED = 0  # local only: from storage, or a first contact without an answer yet
    ALIVE = 1
    SUSPECT = 2
    DEAD = 3
    LEFT = 4
    REMOVED = 5  # taken away by an administrator: remembered for a while so that it stays away, but not shown


AVAILABLE: Final = (State.ALIVE, State.SUSPECT)
INCARNATION_SHIFT: Final = 3
STATE_MASK: Final = 7


def rank_of(incarnation: int, state: State) -> int:
    return incarnation << INCARNATION_SHIFT | state


def incarnation_of(rank: int) -> int:
    return rank >> INCARNATION_SHIFT


def state_of(rank: int) -> State:
    return State(rank & STATE_MASK)


class Direction(IntEnum):
    """Which way of a link loses packets, seen from the observer: its requests, or the other's replies."""

    REQUEST_LOST = 1
    REPLY_LOST = 2


class Report(msgspec.Struct, frozen=True):
    """What a member says of its own condition."""

    peers: int = 0
    has_remote: bool = False
    scan_age_ms: int = 0  # since its last completed scan: a hung scanner shows everywhere
    unreachable_count: int = 0  # available members it cannot reach directly
    unreachable: tuple[tuple[bytes, int], ...] = ()  # some of them: id, Direction

    @property
    def wire_bytes(self) -> int:
        return 24 + 20 * len(self.unreachable)


class Record(msgspec.Struct, frozen=True):
    """Who a member is and where. One object is shared by everything that speaks of this member and incarnation."""

    id: bytes  # 16 bytes
    incarnation: int
    addresses: tuple[str, ...]  # `IP:PORT`, `[IPv6]:PORT`; the first is tried first
    host_name: str
    node_name: str
    port: int
    version: str
    wire_bytes: int = 0

    def __post_init__(self) -> None:
        size = 45 + 19 * len(self.addresses) + sum(2 + len(text.encode()) for text in self._texts())
        msgspec.structs.force_setattr(self, "wire_bytes", size)

    def _texts(self) -> tuple[str, str, str]:
        return self.host_name, self.node_name, self.version


class Update(msgspec.Struct, frozen=True):
    """A claim in its short form: who lacks the record asks for it."""

    member: bytes
    rank: int
    source: bytes | None = None  # who suspects; None: nobody in particular

    @property
    def wire_bytes(self) -> int:
        return 28 if self.source is None else 45


class Entry(msgspec.Struct, frozen=True):
    """A claim with the record, and the newest report its sender knows of."""

    record: Record
    rank: int
    age_ms: int = 0  # since the member is in this state
    report: Report | None = None
    report_age_ms: int = 0
    roundtrip_ms: int | None = None  # between the sender and the member

    @property
    def wire_bytes(self) -> int:
        return self.record.wire_bytes + (48 if self.report is None else 48 + self.report.wire_bytes)


class Ping(msgspec.Struct, frozen=True):
    seq: int
    record: Record
    report: Report
    target: bytes | None = None  # None: only an address is known
    asked_by: tuple[bytes, int] | None = None  # sent for this member, whose own ping with this seq got no answer


class Pong(msgspec.Struct, frozen=True):
    seq: int
    record: Record
    report: Report
    pings_seen: int = 0  # the receiver's direct pings of the last 10 s
    got_direct: bool = False  # did the ping named by `asked_by` arrive?


class PingReq(msgspec.Struct, frozen=True):
    seq: int  # of the direct ping that failed; the answers name it too
    target: bytes
    addresses: tuple[str, ...]
    patience_ms: int  # how long the asker will wait; a Nack comes after 80% of it


class IndirectPong(msgspec.Struct, frozen=True):
    seq: int
    target: bytes
    got_direct: bool
    roundtrip_ms: int  # relay to target


class Nack(msgspec.Struct, frozen=True):
    seq: int
    target: bytes


class SyncRequest(msgspec.Struct, frozen=True):
    """Give me the members with cursor <= id < high."""

    cursor: bytes
    high: bytes  # empty: no upper end


class SyncPage(msgspec.Struct, frozen=True):
    cursor: bytes  # of the request
    high: bytes
    entries: tuple[Entry, ...]
    next_cursor: bytes  # empty: the range is done
    total: int


class Digest(msgspec.Struct, frozen=True):
    hashes: tuple[int, ...]  # one a bucket, over (id, rank) of its members


class DigestDiff(msgspec.Struct, frozen=True):
    claims: tuple[Update, ...]  # of members in buckets that differ


class News(msgspec.Struct, frozen=True):
    """Nothing but the common fields: updates told at once, records that were asked for."""


class Leave(msgspec.Struct, frozen=True):
    incarnation: int


Body = Ping | Pong | PingReq | IndirectPong | Nack | SyncRequest | SyncPage | Digest | DigestDiff | News | Leave


class Packet(msgspec.Struct, frozen=True):
    """What every message has in common, and its body."""

    cluster: str
    sender: bytes
    start: int  # the sender's process: grows with every start
    counter: int  # grows with every packet
    body: Body
    updates: tuple[Update, ...] = ()
    records: tuple[Entry, ...] = ()
    wanted: tuple[bytes, ...] = ()
    your_rank: int | None = None  # the receiver's state as the sender sees it, if not alive


class Send(msgspec.Struct, frozen=True):
    """Put the packet on the wire."""

    target: str
    packet: Packet


class MemberChanged(msgspec.Struct, frozen=True):
    """The cluster's opinion of a member changed, or it is new (before is None), or forgotten (after is None)."""

    member: bytes
    before: State | None
    after: State | None


class HostAnswered(msgspec.Struct, frozen=True):
    """An address given to `add_host` turned out to be this member."""

    address: str
    member: bytes


class HostSilent(msgspec.Struct, frozen=True):
    """All retries of an address are used up."""

    address: str


class DuplicateId(msgspec.Struct, frozen=True):
    """Another machine uses our id."""

    address: str


class Accused(msgspec.Struct, frozen=True):
    """The cluster doubted us; we raised our incarnation."""

    heard: State
    incarnation: int


Action = Send | MemberChanged | HostAnswered | HostSilent | DuplicateId | Accused
