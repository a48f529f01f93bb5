"""What is said of members: which claim holds, suspicion and death, our own defence, reports and bad links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.messages import (
    STATE_MASK,
    Accused,
    Direction,
    Entry,
    Leave,
    MemberChanged,
    Record,
    Report,
    State,
    Update,
    incarnation_of,
    rank_of,
    state_of,
)
from manor.cantal.gossip.node import ALIVE, Node
from manor.cantal.gossip.observations import Hearsay
from manor.cantal.gossip.telling import Telling
from manor.cantal.gossip.turn import Turn, Visit

SUSPECT = int(State.SUSPECT)


class Suspicion:
    """Our own timer for a member somebody suspects."""

    __slots__ = ("sources", "started_at", "until")

    def __init__(self, sources: tuple[bytes, ...], started_at: float) -> None:
        self.sources = sources  # who suspects, each once
        self.started_at = started_at
        self.until = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A link that fails in one way, as one observer reports it."""

    observer: bytes
    target: bytes
    direction: Direction
    since: float  # first heard of by us
    last_seen: float


class Claims:
    """The cluster facts of one node."""

    def __init__(self, node: Node, telling: Telling) -> None:
        self.suspicions: dict[int, Suspicion] = {}  # by slot
        self.links_heard: dict[tuple[bytes, bytes], Link] = {}
        self.pulling = False  # while the whole table comes, its old news need no telling
        self.on_larger_cluster: Callable[[int, Turn], None] = lambda members, turn: None
        self._node = node
        self._telling = telling

    # --- hearing --------------------------------------------------------------------------------------------------

    def hear_updates(self, updates: tuple[Update, ...], turn: Turn) -> list[bytes]:
        """Claims in short form; returns members whose record we lack. In a large cluster most claims are old."""
        node = self._node
        node.members.reach_all()
        slot_of, ranks = node.members.directory.slots.get, node.members.ranks
        wanted: list[bytes] = []
        for update in updates:
            slot = slot_of(update.member)
            known = ranks[slot] if slot is not None else 0
            if update.rank < known or (update.rank == known and known & STATE_MASK != SUSPECT):
                continue
            if slot is not None and known:
                self.hear(update, slot, turn)
            elif update.member == node.record.id:
                self.defend(update.rank, turn)
            else:
                wanted.append(update.member)
        return wanted

    def hear(self, update: Update, slot: int, turn: Turn) -> None:
        """A claim about a member of the table."""
        known = self._node.members.ranks[slot]
        if update.rank > known:
            if self._node.believes(incarnation_of(update.rank), turn.now):
                self._change(slot, update, turn)
        elif update.rank == known and known & STATE_MASK == SUSPECT:
            self._confirm(slot, update, turn)

    def hear_entry(self, entry: Entry, via: bytes, turn: Turn) -> None:
        """A claim that brings its record, and perhaps a report."""
        node, record = self._node, entry.record
        if record.id == node.record.id:
            self.defend(entry.rank, turn)
            return
        slot = node.members.slot(record.id)
        if slot is None:
            since = turn.now - min(entry.age_ms / 1000, bounds.AGE_S_MAX)
            if self.add(record, entry.rank, since, turn) is None:
                return
        else:
            self._take_record(slot, record, turn.now)
            if entry.rank > node.members.ranks[slot]:
                self.hear(Update(record.id, entry.rank), slot, turn)
        if entry.report is not None:
            at = turn.now - min(entry.report_age_ms / 1000, bounds.AGE_S_MAX)
            heard = node.hearsay.get(record.id)
            if heard is None or at > heard.at:
                self._hear_report(record.id, Hearsay(entry.report, at, via, entry.roundtrip_ms), heard)

    def meet(self, record: Record, report: Report, *, direct: bool, turn: Turn) -> None:
        """A member spoke for itself. `direct`: it has answered a ping of ours, so it is where it says."""
        node, member = self._node, record.id
        rank = rank_of(record.incarnation, State.ALIVE)
        slot = node.members.slot(member)
        if slot is None:
            first = rank if direct else rank_of(record.incarnation, State.UNCONFIRMED)
            if self.add(record, first, turn.now, turn) is None:
                return
        else:
            self._take_record(slot, record, turn.now)
            known = node.members.ranks[slot]
            if rank > known and (direct or known & STATE_MASK != State.UNCONFIRMED):
                self.hear(Update(member, rank), slot, turn)
        if direct:
            self._hear_report(member, Hearsay(report, turn.now, member), node.hearsay.get(member))
            if report.peers > len(node.members):
                self.on_larger_cluster(report.peers, turn)

    def add(self, record: Record, rank: int, since: float, turn: Turn) -> int | None:
        """A member that was not in the table; its slot, or None if it is not taken in."""
        node, state = self._node, rank & STATE_MASK
        if self.too_old(state, turn.now - since):
            return None
        if len(node.members) >= bounds.MEMBERS_MAX or not node.believes(incarnation_of(rank), turn.now):
            node.counts.refused += 1
            return None
        slot = node.members.add(record, rank, now=turn.now, since=since, rng=node.rng)
        self._telling.record_came(record.id)
        if state == SUSPECT:
            self._suspect(slot, None, turn.now)
        if state != State.UNCONFIRMED and not self.pulling:
            self._telling.pass_on(Update(record.id, rank), slot, turn)
        turn.tell(MemberChanged(record.id, None, State(state)))
        return slot

    def on_leave(self, body: Leave, visit: Visit, turn: Turn) -> None:
        slot = self._node.members.slot(visit.sender)
        if slot is not None:
            self.hear(Update(visit.sender, rank_of(body.incarnation, State.LEFT)), slot, turn)

    def remove(self, member: bytes, turn: Turn) -> None:
        """An administrator takes a dead or left member away, everywhere."""
        slot = self._node.members.slot(member)
        if slot is not None:
            rank = rank_of(incarnation_of(self._node.members.ranks[slot]), State.REMOVED)
            self.hear(Update(member, rank), slot, turn)

    def _take_record(self, slot: int, record: Record, now: float) -> None:
        known = self._node.members.records[slot]
        if record is known or record.incarnation <= known.incarnation:
            return
        if self._node.believes(record.incarnation, now):
            self._node.members.records[slot] = record

    # --- change ---------------------------------------------------------------------------------------------------

    def _change(self, slot: int, update: Update, turn: Turn) -> None:
        """The cluster's opinion moves on; the update travels further."""
        before, after = self._node.members.ranks[slot], update.rank
        self._node.members.change(slot, after, turn.now)
        self.suspicions.pop(slot, None)
        if after & STATE_MASK == SUSPECT:
            self._suspect(slot, update.source, turn.now)
        self._telling.pass_on(update, slot, turn)
        if (before ^ after) & STATE_MASK:
            turn.tell(MemberChanged(update.member, State(before & STATE_MASK), State(after & STATE_MASK)))

    def suspect(self, member: bytes, turn: Turn) -> tuple[int, int] | None:
        """We could not reach a member by any way. Its slot and rank if it is now suspected."""
        slot = self._node.members.slot(member)
        if slot is None or not self._node.is_available(member):
            return None
        self._node.counts.suspicions_raised += 1
        rank = rank_of(incarnation_of(self._node.members.ranks[slot]), State.SUSPECT)
        self.hear(Update(member, rank, self._node.record.id), slot, turn)
        return slot, rank

    def _suspect(self, slot: int, source: bytes | None, now: float) -> None:
        suspicion = self.suspicions[slot] = Suspicion((source,) if source is not None else (), now)
        self._schedule_death(slot, suspicion)

    def _confirm(self, slot: int, update: Update, turn: Turn) -> None:
        """One more accuser brings the death nearer."""
        suspicion = self.suspicions.get(slot)
        if suspicion is None or update.source is None or update.source in suspicion.sources:
            return
        if len(suspicion.sources) > self._node.numbers.confirmations(self._node.members.available):
            return
        suspicion.sources += (update.source,)
        self._schedule_death(slot, suspicion)
        self._telling.pass_on(update, slot, turn)

    def _schedule_death(self, slot: int, suspicion: Suspicion) -> None:
        confirmed = max(0, len(suspicion.sources) - 1)
        until = suspicion.started_at + self._node.numbers.suspicion_s(confirmed, self._node.members.available)
        if not suspicion.until or until < suspicion.until:
            suspicion.until = until
            self._node.timers.at(until, self._suspicion_over, (slot, suspicion))

    def _suspicion_over(self, about: tuple[int, Suspicion], turn: Turn) -> None:
        slot, suspicion = about
        if self.suspicions.get(slot) is not suspicion or turn.now < suspicion.until:
            return
        self._node.counts.deaths_declared += 1
        members = self._node.members
        dead = rank_of(incarnation_of(members.ranks[slot]), State.DEAD)
        self._change(slot, Update(members.directory.ids[slot], dead), turn)

    def void(self, now: float) -> None:
        """We stood still: every suspect gets its full time again."""
        for slot, suspicion in self.suspicions.items():
            renewed = self.suspicions[slot] = Suspicion(suspicion.sources[:1], now)
            self._schedule_death(slot, renewed)

    # --- ourselves ------------------------------------------------------------------------------------------------

    def defend(self, rank: int, turn: Turn) -> None:
        """Somebody says of us what is not so, or what only a later incarnation of us could have said."""
        node = self._node
        own, claimed, state = node.record.incarnation, incarnation_of(rank), state_of(rank)
        if state == State.UNCONFIRMED or claimed < own or (claimed == own and state == State.ALIVE):
            return
        if not node.believes(claimed, turn.now):
            node.counts.refused += 1
            return
        node.counts.accused += 1
        if state == State.SUSPECT:
            node.feel_worse()
        self.raise_incarnation(node.record, claimed, turn)
        turn.tell(Accused(state, node.record.incarnation))

    def raise_incarnation(self, record: Record, above: int, turn: Turn) -> None:
        """Overrides all that was said of us until now."""
        self._node.record = msgspec.structs.replace(record, incarnation=above + 1)
        self._telling.pass_on(Update(record.id, rank_of(above + 1, State.ALIVE)), None, turn)

    # --- reports and links ----------------------------------------------------------------------------------------

    def _hear_report(self, member: bytes, heard: Hearsay, before: Hearsay | None) -> None:
        self._node.hearsay[member] = heard
        old = before.report.unreachable if before is not None else ()
        new = heard.report.unreachable
        if not old and not new:
            return
        for target, _ in old:
            if all(target != still for still, _ in new):
                self.links_heard.pop((member, target), None)
        for target, direction in new:
            link = self.links_heard.get((member, target))
            since = link.since if link is not None else heard.at
            self.links_heard[member, target] = Link(member, target, Direction(direction), since, heard.at)

    def links(self, now: float) -> list[Link]:
        """Bad links of the whole cluster: what we see ourselves, and what the newest reports say."""
        node = self._node
        own = [
            Link(node.record.id, member, seen.link, seen.link_since, seen.link_failed_at)
            for member, seen in node.bad_links.items()
            if seen.link is not None and now - seen.link_failed_at <= node.numbers.link_memory
        ]
        return own + [link for (observer, _), link in self.links_heard.items() if node.is_available(observer)]

    def refresh_report(self, now: float, *, has_remote: bool, scan_age_ms: int) -> None:
        """What our packets say of ourselves."""
        node = self._node
        bad = [
            (member, int(seen.link))
            for member, seen in node.bad_links.items()
            if seen.link is not None
            and now - seen.link_failed_at <= node.numbers.link_memory
            and node.is_available(member)
        ]
        shown = tuple(bad[: bounds.UNREACHABLE_SHOWN_MAX])
        new = Report(len(node.members), has_remote, scan_age_ms, len(bad), shown)
        if new != node.report:
            node.report = new

    # --- forgetting -----------------------------------------------------------------------------------------------

    def forget_old(self, turn: Turn) -> None:
        node, now = self._node, turn.now
        for member, seen in list(node.bad_links.items()):
            if seen.link is None or now - seen.link_failed_at > node.numbers.link_memory:
                seen.link = None
                del node.bad_links[member]
        ranks, since = node.members.ranks, node.members.since
        for slot in [s for s in node.members.gone if self.too_old(ranks[s] & STATE_MASK, now - since[s])]:
            member, state = node.members.directory.ids[slot], State(ranks[slot] & STATE_MASK)
            node.members.forget(slot)
            node.observations.pop(member, None)
            node.bad_links.pop(member, None)
            node.hearsay.pop(member, None)
            turn.tell(MemberChanged(member, state, None))

    def too_old(self, state: int, age_s: float) -> bool:
        if state == State.DEAD:
            return age_s > self._node.numbers.remove_after
        if state in (State.LEFT, State.REMOVED):
            return age_s > bounds.REMOVE_LEFT_AFTER_S
        return state == State.UNCONFIRMED and age_s > bounds.UNCONFIRMED_FOR_S

    def stale(self, now: float) -> int:
        """Members that are dead, or never confirmed and without any report for `stale-after`."""
        node = self._node
        silent = 0
        for slot in node.members.gone:
            if node.members.ranks[slot] & STATE_MASK == State.UNCONFIRMED:
                heard = node.hearsay.get(node.members.directory.ids[slot])
                at = heard.at if heard is not None else node.members.known_since[slot]
                silent += now - at > node.numbers.stale_after
        return node.members.counts[State.DEAD] + silent


assert ALIVE < SUSPECT < State.DEAD < State.LEFT < State.REMOVED  # the order is the rule of precedence
