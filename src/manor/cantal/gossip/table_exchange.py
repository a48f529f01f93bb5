"""The whole table from member to member: pulled by whoever knows too little, compared by digest now and then."""

from __future__ import annotations

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.claims import Claims
from manor.cantal.gossip.members import add_to_digest
from manor.cantal.gossip.messages import (
    STATE_MASK,
    Digest,
    DigestDiff,
    Entry,
    News,
    SyncPage,
    SyncRequest,
    Update,
)
from manor.cantal.gossip.node import Node
from manor.cantal.gossip.table_pull import TablePull
from manor.cantal.gossip.telling import Telling
from manor.cantal.gossip.turn import Turn, Visit


class TableExchange:
    """One node's part in keeping the tables equal."""

    def __init__(self, node: Node, telling: Telling, claims: Claims, now: float) -> None:
        self._node = node
        self._telling = telling
        self._claims = claims
        self._pull: TablePull | None = None
        self._pause_s = bounds.PULL_AGAIN_S[0]
        self._not_before = now
        self._known_before = 0
        self._pages_left, self._pages_at = float(bounds.PAGES_PER_S), now

    # --- pulling --------------------------------------------------------------------------------------------------

    def start_pull(self, members: int, turn: Turn) -> None:
        """Somebody knows so many members, and we know fewer."""
        if self._pull is not None or turn.now < self._not_before:
            return
        sources = self._node.random_alive(bounds.PULL_FROM)
        if sources:
            self._pull = TablePull(sources, members, self._node.rng)
            self._claims.pulling = True
            self._known_before = len(self._node.members)
            self._go_on(None, turn)

    def _go_on(self, _: None, turn: Turn) -> None:
        pull = self._pull
        if pull is None:
            return
        for member, request in pull.ask(turn.now):
            self._telling.send(member, request, 50, turn)
        timeout_at = pull.next_timeout_at
        if timeout_at is not None:
            self._node.timers.at(timeout_at, self._go_on)
        elif pull.done:
            self._pull, self._claims.pulling = None, False
            shortest, longest = bounds.PULL_AGAIN_S
            learned = len(self._node.members) > self._known_before
            self._pause_s = shortest if learned else min(2 * self._pause_s, longest)
            self._not_before = turn.now + self._pause_s

    def on_sync_request(self, body: SyncRequest, visit: Visit, turn: Turn) -> None:
        if not self._may_serve(turn.now):
            return
        node, members = self._node, self._node.members
        room = self._telling.room_bytes - 80
        entries: list[Entry] = []
        next_cursor = b""
        if body.cursor <= node.record.id and (not body.high or node.record.id < body.high):
            own = Entry(node.record, node.own_rank)
            entries.append(own)
            room -= own.wire_bytes
        for member in members.ids_from(body.cursor, body.high):
            slot = members.directory.slots[member]
            if not members.ranks[slot] & STATE_MASK:
                continue
            entry = self._telling.entry(slot, turn.now)
            room -= entry.wire_bytes
            if room < 0:
                next_cursor = member
                break
            entries.append(entry)
        page = SyncPage(body.cursor, body.high, tuple(entries), next_cursor, members.confirmed)
        turn.send(visit.address, self._telling.bare(page))

    def _may_serve(self, now: float) -> bool:
        rate = float(bounds.PAGES_PER_S)
        self._pages_left = min(rate, self._pages_left + (now - self._pages_at) * rate)
        self._pages_at = now
        if self._pages_left < 1:
            return False
        self._pages_left -= 1
        return True

    def on_sync_page(self, body: SyncPage, visit: Visit, turn: Turn) -> None:
        if self._pull is None or not self._pull.receive(body, visit.sender):
            return
        for entry in body.entries:
            self._claims.hear_entry(entry, visit.sender, turn)
        self._go_on(None, turn)

    # --- comparing ------------------------------------------------------------------------------------------------

    def compare(self, turn: Turn) -> None:
        """Send our digest to one member: what got lost on all other ways is found so."""
        for member in self._node.random_alive(1):
            self._telling.send(member, Digest(self._digest()), 640, turn)

    def _digest(self) -> tuple[int, ...]:
        buckets = self._node.members.buckets.copy()
        add_to_digest(buckets, self._node.record.id, self._node.own_rank)
        return tuple(buckets)

    def on_digest(self, body: Digest, visit: Visit, turn: Turn) -> None:
        """Answer with all we hold of the buckets that differ; the other side keeps what is newer."""
        node, members = self._node, self._node.members
        pairs = zip(body.hashes, self._digest(), strict=True)
        differing = {number for number, (theirs, ours) in enumerate(pairs) if theirs != ours}
        if not differing:
            return
        claims = [Update(node.record.id, node.own_rank)] if node.record.id[15] % bounds.BUCKETS in differing else []
        for member in members.ids:
            if member[15] % bounds.BUCKETS in differing:
                rank = members.ranks[members.directory.slots[member]]
                if rank & STATE_MASK:
                    claims.append(Update(member, rank))
        size = (self._telling.room_bytes - 10) // 28
        parts = [tuple(claims[start : start + size]) for start in range(0, len(claims), size)]
        node.rng.shuffle(parts)
        for part in parts[: bounds.DIGEST_ANSWERS_MAX]:
            turn.send(visit.address, self._telling.bare(DigestDiff(part)))

    def on_digest_diff(self, body: DigestDiff, visit: Visit, turn: Turn) -> None:
        """Take what is newer there, tell what is newer here."""
        members = self._node.members
        newer = []
        for claim in body.claims:
            slot = members.slot(claim.member)
            if slot is not None and members.ranks[slot] > claim.rank and members.ranks[slot] & STATE_MASK:
                newer.append(Update(claim.member, members.ranks[slot]))
        wanted = self._claims.hear_updates(body.claims, turn)
        self._telling.ask_records(wanted, visit, turn)
        if newer:
            most = self._telling.room_bytes // 28
            turn.send(visit.address, self._telling.bare(News(), updates=tuple(newer[:most])))
