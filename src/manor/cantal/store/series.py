"""Series and the numbers they are known by.

A series is a key and a kind. The first time it is seen it gets a small number, its id; from then on it is moved
about as that number. Ids of forgotten series are given out again: whoever keeps ids holds a `Columns`, which asks
anew when the table's generation has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.keys import Key

Ids: TypeAlias = NDArray[np.int32]
REFUSED = -1  # the id of a series for which there was no room


class Kind(IntEnum):
    """How the 64 bits of a sample are read; the numbers are those of the binary answers."""

    STATE = 0
    COUNTER = 1  # uint64, only grows
    INTEGER = 2  # int64, a level
    FLOAT = 3  # float64, a level


class Series(NamedTuple):
    """What a column holds."""

    key: Key
    kind: Kind
    cumulative: bool = False  # a Float that only grows: a fall is a restart, as with a Counter


class Condition(Protocol):
    """Anything that can tell whether a key is meant; hashable, since answers are remembered."""

    def matches(self, pairs: dict[str, str]) -> bool: ...


class SeriesTable:
    """Series by id and ids by series. Only ever grows in place; forgetting makes a new table (see `without`)."""

    def __init__(self, series_max: int, generation: int = 0) -> None:
        self.generation = generation  # another number: ids handed out before may mean something else now
        self.refused = 0  # how often there was no room
        self._series_max = series_max
        self._by_id: list[Series | None] = []
        self._ids: dict[Series, int] = {}
        self._free: list[int] = []
        self._added: list[int] = []  # ids in the order of their coming, so that remembered answers can catch up
        self._remembered: dict[Condition, tuple[int, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def capacity(self) -> int:
        """All ids are below this number."""
        return len(self._by_id)

    def intern(self, series: Series) -> int:
        """The id of this series, a new one if need be; REFUSED if the table is full."""
        known = self._ids.get(series)
        if known is not None:
            return known
        if len(self._ids) >= self._series_max:
            self.refused += 1
            return REFUSED
        if self._free:
            new = self._free.pop()
            self._by_id[new] = series
        else:
            new = len(self._by_id)
            self._by_id.append(series)
        self._ids[series] = new
        self._added.append(new)
        return new

    def find(self, series: Series) -> int | None:
        return self._ids.get(series)

    def series(self, ids: Iterable[int]) -> list[Series]:
        """The series of these ids; KeyError for an id that means nothing."""
        found = [self._by_id[i] for i in ids]
        if None in found:
            raise KeyError("an id of a forgotten series")
        return [one for one in found if one is not None]

    def matching(self, condition: Condition) -> Ids:
        """The ids of all series whose key is meant, ascending. Each key is looked at once per condition."""
        seen, ids = self._remembered.get(condition, (0, []))
        if seen < len(self._added):
            upto = len(self._added)
            ids = ids + [i for i in self._added[seen:upto] if _is_meant(condition, self._by_id[i])]
            if len(self._remembered) >= REMEMBERED_CONDITIONS_MAX:
                self._remembered.clear()
            self._remembered[condition] = (upto, ids)
        return np.sort(np.array(ids, dtype=np.int32))

    def all_ids(self) -> Ids:
        return np.sort(np.array(self._added, dtype=np.int32))

    def without(self, ids: Iterable[int]) -> SeriesTable:
        """A new table of the next generation that has forgotten these ids; the old one stays as it was for readers."""
        gone = set(ids)
        table = SeriesTable(self._series_max, self.generation + 1)
        table.refused = self.refused
        table._by_id = [None if i in gone else one for i, one in enumerate(self._by_id)]
        table._ids = {one: i for one, i in self._ids.items() if i not in gone}
        table._free = [i for i, one in enumerate(table._by_id) if one is None]
        table._added = list(table._ids.values())
        return table


REMEMBERED_CONDITIONS_MAX = 256  # more different questions than a busy dashboard asks


def _is_meant(condition: Condition, series: Series | None) -> bool:
    return series is not None and condition.matches(dict(series.key))


class Columns:
    """A list of series somebody samples again and again, and their ids."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = tuple(series)
        self._generation = -1
        self._ids: Ids = np.zeros(0, np.int32)

    def ids(self, table: SeriesTable) -> Ids:
        """One id a series, REFUSED where there was no room. The same array as long as nothing was forgotten."""
        if self._generation != table.generation:
            self._ids = np.fromiter(map(table.intern, self.series), np.int32, len(self.series))
            self._generation = table.generation
        return self._ids
