"""What goes into packets: news first, then some members the receiver may know little of; records on demand."""

from __future__ import annotations

import msgspec

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.messages import STATE_MASK, Body, Entry, News, Packet, Update
from manor.cantal.gossip.news import NewsQueue
from manor.cantal.gossip.node import ALIVE, Node
from manor.cantal.gossip.observations import Hearsay
from manor.cantal.gossip.turn import Turn, Visit


class Telling:
    """Makes every packet of a node."""

    def __init__(self, node: Node, now: float) -> None:
        self._node = node
        self._counter = 0
        self._queue = NewsQueue()
        self._tokens, self._tokens_at = float(bounds.SPREAD_PACKETS_PER_S), now
        self._waits = False
        self._wanted: dict[bytes, float] = {}  # member -> when its record was asked for
        self._head_bytes = 70 + len(node.cluster.encode())  # everything but body and lists, upper bound

    @property
    def room_bytes(self) -> int:
        """For a body and lists."""
        return bounds.PAYLOAD_BYTES_MAX - self._head_bytes

    @property
    def greeting_bytes(self) -> int:
        """What a Ping or Pong takes at most."""
        return 80 + self._node.record.wire_bytes + self._node.report.wire_bytes

    # --- packets --------------------------------------------------------------------------------------------------

    def packet(
        self, body: Body, body_bytes: int, receiver: bytes | None, now: float, *, friends: bool = False
    ) -> Packet:
        """A packet filled with what fits. `receiver` is told what is said of it, if that is not good."""
        node = self._node
        room = self.room_bytes - body_bytes
        updates: tuple[Update, ...] = ()
        if len(self._queue):
            updates = self._queue.take(room, node.numbers.updates_per_packet, node.members.ranks, node.own_rank)
            room -= sum([update.wire_bytes for update in updates])
        records = self._friends(room, receiver, now) if friends else ()
        your_rank = None
        if receiver is not None:
            slot = node.members.directory.slots.get(receiver)
            rank = node.members.rank_at(slot) if slot is not None else 0
            if rank & STATE_MASK > ALIVE:
                your_rank = rank
        return self.bare(body, updates=updates, records=records, your_rank=your_rank)

    def bare(
        self,
        body: Body,
        *,
        updates: tuple[Update, ...] = (),
        records: tuple[Entry, ...] = (),
        wanted: tuple[bytes, ...] = (),
        your_rank: int | None = None,
    ) -> Packet:
        """A packet with just this in it."""
        node = self._node
        self._counter += 1
        return Packet(
            node.cluster, node.record.id, node.start, self._counter, body, updates, records, wanted, your_rank
        )

    def send(self, member: bytes, body: Body, body_bytes: int, turn: Turn) -> None:
        address = self._node.address_of(member)
        if address is not None:
            turn.send(address, self.packet(body, body_bytes, member, turn.now))

    def _friends(self, room: int, receiver: bytes | None, now: float) -> tuple[Entry, ...]:
        """Random members with the newest report we know of."""
        members, hearsay, random_ = self._node.members, self._node.hearsay, self._node.rng.random
        ring, size = members.ring, len(members.ring)
        found: list[Entry] = []
        for _ in range(self._node.numbers.friends_per_packet if size else 0):
            slot = ring[int(random_() * size)]
            if members.ranks[slot] & STATE_MASK != ALIVE:
                continue
            member = members.directory.ids[slot]
            heard = hearsay.get(member)
            if heard is None or member == receiver:
                continue
            entry = self.entry(slot, now, heard)
            room -= entry.wire_bytes
            if room < 0:
                break
            found.append(entry)
        return tuple(found)

    def entry(self, slot: int, now: float, heard: Hearsay | None = None) -> Entry:
        """All we can say of a member; with a report if one is given."""
        members = self._node.members
        record, rank, age_ms = members.records[slot], members.ranks[slot], int((now - members.since[slot]) * 1000)
        if heard is None:
            return Entry(record, rank, age_ms)
        seen = self._node.observations.get(record.id)
        roundtrip_ms = int(seen.roundtrip_ms) if seen is not None and seen.roundtrip_at else None
        report_age_ms = max(0, int((now - heard.at) * 1000))
        return Entry(record, rank, age_ms, heard.report, report_age_ms, roundtrip_ms)

    # --- news -----------------------------------------------------------------------------------------------------

    def pass_on(self, update: Update, slot: int | None, turn: Turn) -> None:
        """Something new: it rides on the next packets, and some members hear of it at once. No slot: ourselves."""
        self._queue.add(update, -1 if slot is None else slot, self._node.retransmissions())
        turn.news = True

    def spread(self, turn: Turn) -> None:
        """Tell some members at once, but only so many packets a second; what comes too often waits and is joined."""
        rate = bounds.SPREAD_PACKETS_PER_S
        self._tokens = min(float(rate), self._tokens + (turn.now - self._tokens_at) * rate)
        self._tokens_at = turn.now
        turn.news = False
        to = min(bounds.SPREAD_TO, int(self._tokens))
        if to == 0:
            if not self._waits:
                self._waits = True
                self._node.timers.at(turn.now + bounds.SPREAD_TO / rate, self._spread_later)
            return
        for member in self._node.random_alive(to):
            self._tokens -= 1
            self.send(member, News(), 4, turn)

    def _spread_later(self, _: None, turn: Turn) -> None:
        self._waits = False
        turn.news = True  # whoever runs the turn spreads at its end

    # --- records on demand ----------------------------------------------------------------------------------------

    def ask_records(self, wanted: list[bytes], visit: Visit, turn: Turn) -> None:
        """Whoever told us of members we lack gives their records."""
        asked: list[bytes] = []
        for member in wanted:
            if turn.now - self._wanted.get(member, -bounds.WANTED_AGAIN_S) < bounds.WANTED_AGAIN_S:
                continue
            if len(self._wanted) >= bounds.WANTED_MAX or len(asked) >= bounds.WANTED_PER_PACKET:
                break
            self._wanted[member] = turn.now
            asked.append(member)
        if asked:
            packet = self.packet(News(), 4 + 17 * len(asked), visit.sender, turn.now)
            turn.send(visit.address, msgspec.structs.replace(packet, wanted=tuple(asked)))

    def give_records(self, wanted: tuple[bytes, ...], visit: Visit, turn: Turn) -> None:
        members = self._node.members
        entries: list[Entry] = []
        room = self.room_bytes
        for member in wanted[: bounds.WANTED_PER_PACKET]:
            slot = members.slot(member)
            if slot is None or not members.ranks[slot] & STATE_MASK:
                continue
            entry = self.entry(slot, turn.now)
            room -= entry.wire_bytes
            if room < 0:
                break
            entries.append(entry)
        if entries:
            turn.send(visit.address, self.bare(News(), records=tuple(entries)))

    def record_came(self, member: bytes) -> None:
        self._wanted.pop(member, None)

    def forget_old(self, now: float) -> None:
        self._wanted = {member: at for member, at in self._wanted.items() if now - at <= bounds.WANTED_AGAIN_S}
