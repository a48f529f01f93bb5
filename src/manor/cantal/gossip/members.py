"""The member table: what the cluster says of every member, in compact columns.

Theory of operation. A `Directory` gives every member id a small number, its slot, once for the whole process; the
columns of a table are indexed by slot. A column is an `array` or, in a table made by `fork`, an `Overlay` that holds
only what changed since: so ten thousand simulated nodes can start from one converged table. Rank 0 says "not here".

All members but those the table's owner wants to leave out are in `ring`, in random order: probing walks it.
The 64 bucket hashes of the digest are kept up to date with every change, by exclusive or.
"""

from __future__ import annotations

import bisect
import random
from array import array
from collections.abc import Iterator, MutableSequence
from typing import Any, Final

from manor.cantal.gossip.messages import STATE_MASK, Record, State
from manor.cantal.gossip.numbers import BUCKETS

BYTES_A_MEMBER_MAX: Final = 64  # records aside, which are shared

_MIX: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1


class Directory:
    """Numbers for member ids. Simulated nodes share one; a number is given again when nobody holds it any more."""

    def __init__(self) -> None:
        self.slots: dict[bytes, int] = {}
        self.ids: list[bytes] = []
        self._holders: list[int] = []
        self._free: list[int] = []

    def hold(self, member: bytes) -> int:
        slot = self.slots.get(member)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self.ids[slot] = member
            else:
                slot = len(self.ids)
                self.ids.append(member)
                self._holders.append(0)
            self.slots[member] = slot
        self._holders[slot] += 1
        return slot

    def release(self, slot: int) -> None:
        self._holders[slot] -= 1
        if self._holders[slot] == 0:
            del self.slots[self.ids[slot]]
            self._free.append(slot)


class Overlay(dict[int, Any]):
    """A column of a forked table: what changed, over a base that nobody writes any more."""

    __slots__ = ("_base", "_default")

    def __init__(self, base: Any, default: Any) -> None:
        super().__init__()
        self._base = base
        self._default = default

    def __missing__(self, slot: int) -> Any:
        return self._base[slot] if slot < len(self._base) else self._default


class Members:
    """Ranks, times and records by slot. `since` and `known_since` are seconds on the owner's clock."""

    __slots__ = (
        "_forked",
        "_lists_shared",
        "buckets",
        "counts",
        "directory",
        "gone",
        "ids",
        "known_since",
        "ranks",
        "records",
        "ring",
        "since",
    )

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.ranks: Any = array("Q")
        self.since: Any = array("d")
        self.known_since: Any = array("d")
        self.records: Any = []
        self.ids: list[bytes] = []  # sorted
        self.ring: MutableSequence[int] = array("I")
        self.buckets = [0] * BUCKETS
        self.counts = [0] * len(State)
        self.gone: set[int] = set()  # slots of all that are not available
        self._forked = False  # the columns are overlays
        self._lists_shared = False  # `ids` and `ring` are those of the table this one was forked from

    def fork(self, *, without: bytes) -> Members:
        """A table that begins like this one and shares what does not change, but lacks one member: its owner.
        This one must not change any more."""
        other = Members(self.directory)
        other.ranks, other.since = Overlay(self.ranks, 0), Overlay(self.since, 0.0)
        other.known_since, other.records = Overlay(self.known_since, 0.0), Overlay(self.records, None)
        other.ids, other.ring = self.ids, self.ring
        other.buckets, other.counts, other.gone = self.buckets.copy(), self.counts.copy(), self.gone.copy()
        other._forked = other._lists_shared = True
        slot = self.directory.slots[without]
        other.counts[self.ranks[slot] & STATE_MASK] -= 1
        other._hash(slot, self.ranks[slot])
        other.ranks[slot] = 0
        return other

    def __len__(self) -> int:
        return sum(self.counts)

    def __contains__(self, member: bytes) -> bool:
        return self.slot(member) is not None

    def __iter__(self) -> Iterator[int]:
        """Slots in order of the ids."""
        slots = self.directory.slots
        return iter([slot for slot in map(slots.__getitem__, self.ids) if self.ranks[slot]])

    @property
    def available(self) -> int:
        return self.counts[State.ALIVE] + self.counts[State.SUSPECT]

    @property
    def confirmed(self) -> int:
        """Members the cluster knows, whatever their state."""
        return len(self) - self.counts[State.UNCONFIRMED]

    def slot(self, member: bytes) -> int | None:
        """The slot of a member of this table."""
        slot = self.directory.slots.get(member)
        return slot if slot is not None and self.rank_at(slot) else None

    def rank_at(self, slot: int) -> int:
        """0 if nobody is there."""
        if not self._forked and slot >= len(self.ranks):
            return 0
        rank: int = self.ranks[slot]
        return rank

    def reach_all(self) -> None:
        """Make the columns as long as the directory, so that `ranks` can be indexed by any slot."""
        missing = len(self.directory.ids) - len(self.ranks)
        if missing > 0 and not self._forked:
            self.ranks.extend([0] * missing)
            self.since.extend([0.0] * missing)
            self.known_since.extend([0.0] * missing)
            self.records.extend([None] * missing)

    def add(self, record: Record, rank: int, *, now: float, since: float, rng: random.Random) -> int:
        """A new member, at a random place of the ring."""
        slot = self.directory.hold(record.id)
        self.reach_all()
        self._own_lists()
        bisect.insort(self.ids, record.id)
        self.ring.insert(int(rng.random() * (len(self.ring) + 1)), slot)
        self.records[slot], self.known_since[slot] = record, now
        self.ranks[slot] = 0
        self._count(slot, rank, since)
        return slot

    def change(self, slot: int, rank: int, since: float) -> None:
        """Another rank for a member."""
        old = self.ranks[slot]
        self.counts[old & STATE_MASK] -= 1
        self._hash(slot, old)
        self._count(slot, rank, since)

    def forget(self, slot: int) -> None:
        old = self.ranks[slot]
        self.counts[old & STATE_MASK] -= 1
        self._hash(slot, old)
        self.gone.discard(slot)
        member = self.directory.ids[slot]
        self._own_lists()
        del self.ids[bisect.bisect_left(self.ids, member)]
        self.ring.remove(slot)
        self.ranks[slot], self.records[slot] = 0, None
        self.directory.release(slot)

    def ids_from(self, cursor: bytes, high: bytes) -> Iterator[bytes]:
        """Ids with cursor <= id < high, in order; an empty `high` is no end."""
        start = bisect.bisect_left(self.ids, cursor)
        end = bisect.bisect_left(self.ids, high) if high else len(self.ids)
        return iter(self.ids[start:end])

    def _own_lists(self) -> None:
        if self._lists_shared:
            self.ids, self.ring, self._lists_shared = self.ids.copy(), self.ring[:], False

    def _count(self, slot: int, rank: int, since: float) -> None:
        self.ranks[slot], self.since[slot] = rank, since
        state = rank & STATE_MASK
        self.counts[state] += 1
        self._hash(slot, rank)
        if state == State.ALIVE or state == State.SUSPECT:
            self.gone.discard(slot)
        else:
            self.gone.add(slot)

    def _hash(self, slot: int, rank: int) -> None:
        if rank & STATE_MASK:  # unconfirmed members are nobody else's business
            add_to_digest(self.buckets, self.directory.ids[slot], rank)


def bucket_of(member: bytes) -> int:
    return member[15] % BUCKETS


def add_to_digest(buckets: list[int], member: bytes, rank: int) -> None:
    """Add one claim, or take it away again: the operation is its own inverse."""
    mixed = ((int.from_bytes(member[:8], "big") ^ rank) * _MIX) & _MASK
    buckets[member[15] % BUCKETS] ^= mixed ^ mixed >> 29
