"""Chunks: 60 consecutive ticks, open while being written, sealed ever after.

Readers never lock. A tick is written into a row no reader has been told of yet; the number of rows grows last. When
a chunk needs more columns its arrays are replaced by larger ones, and a reader goes on with those it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.codec import pack, unpack
from manor.cantal.store.frame import Bits, Frame, Mask, Times
from manor.cantal.store.series import Ids, Series

Scalar = TypeVar("Scalar", bound=np.generic)

CHUNK_TICKS = 60
BLOCK_COLUMNS = 256  # unpacked together: small enough that one series is read in 0.1 ms, large enough to pack well
FIRST_COLUMNS = 256


@dataclass(frozen=True, slots=True)
class OpenRows:
    """What a reader holds of an open chunk: arrays that are not written to any more as far as `rows` goes."""

    rows: int
    all_times: Times
    durations: NDArray[np.int32]
    ids: Ids  # of the columns
    bits: Bits
    present: Mask
    breaks: Mask

    @property
    def times(self) -> Times:
        return self.all_times[: self.rows]

    def fill(self, wanted: Ids, into: Frame, at_row: int, first: int, last: int) -> None:
        """Copy the wanted series' rows first..last-1 into a frame, beginning at its row `at_row`."""
        last = min(last, self.rows)
        here, there = _common_columns(self.ids, wanted)
        rows = slice(at_row, at_row + last - first)
        into.bits[rows, there] = self.bits[first:last, here]
        into.present[rows, there] = self.present[first:last, here]
        into.breaks[rows, there] = self.breaks[first:last, here]


class OpenChunk:
    """The chunk that is being filled. One writer."""

    def __init__(self) -> None:
        self._times = np.zeros(CHUNK_TICKS, np.int64)
        self._durations = np.zeros(CHUNK_TICKS, np.int32)
        self._rows = 0
        self._width = 0
        self._ids: Ids = np.zeros(FIRST_COLUMNS, np.int32)
        self._column_of: Ids = np.full(FIRST_COLUMNS, -1, np.int32)  # id -> column
        self._bits: Bits = np.zeros((CHUNK_TICKS, FIRST_COLUMNS), np.uint64)
        self._present: Mask = np.zeros((CHUNK_TICKS, FIRST_COLUMNS), bool)
        self._breaks: Mask = np.zeros((CHUNK_TICKS, FIRST_COLUMNS), bool)

    @property
    def is_full(self) -> bool:
        return self._rows == CHUNK_TICKS

    def append(self, time: int, duration: int, ids: Ids, bits: Bits, broken: Ids) -> None:
        """One tick: samples of distinct ids; `broken` are those of them that do not continue what was before."""
        assert not self.is_full
        row = self._rows
        columns = self._columns(ids)
        self._bits[row, columns] = bits
        self._present[row, columns] = True
        self._breaks[row, self._columns(broken)] = True
        self._times[row] = time
        self._durations[row] = duration
        self._rows = row + 1

    def shift(self, by_ms: int) -> None:
        """Move all ticks; readers keep the old times."""
        self._times = self._times + by_ms

    def reading(self) -> OpenRows:
        """What can be read now."""
        rows = self._rows  # asked first: arrays only ever get more rows and columns after this
        return OpenRows(
            rows,
            self._times,
            self._durations[:rows],
            self._ids[: self._width],
            self._bits,
            self._present,
            self._breaks,
        )

    def _columns(self, ids: Ids) -> NDArray[np.int32]:
        if not len(ids):
            return ids
        highest = int(ids.max())
        if highest >= len(self._column_of):
            grown = np.full(max(highest + 1, 2 * len(self._column_of)), -1, np.int32)
            grown[: len(self._column_of)] = self._column_of
            self._column_of = grown
        columns = self._column_of[ids]
        if (columns < 0).any():
            self._add(ids[columns < 0])
            columns = self._column_of[ids]
        return columns

    def _add(self, ids: Ids) -> None:
        width = self._width + len(ids)
        if width > len(self._ids):
            capacity = max(width, 2 * len(self._ids))
            self._ids = _widened(self._ids, capacity)
            self._bits = _widened(self._bits, capacity)
            self._present = _widened(self._present, capacity)
            self._breaks = _widened(self._breaks, capacity)
        self._ids[self._width : width] = ids
        self._column_of[ids] = np.arange(self._width, width, dtype=np.int32)
        self._width = width


@dataclass(frozen=True)
class SealedChunk:
    """A chunk that is full, packed in blocks of columns. Never changes but for `shifted` copies."""

    times: Times
    durations: NDArray[np.int32]
    ids: Ids  # in the order of the columns
    blocks: tuple[bytes, ...]
    break_rows: NDArray[np.int32]
    break_columns: NDArray[np.int32]
    number: int  # names the chunk in the cache of unpacked blocks and its file

    @property
    def stored_bytes(self) -> int:
        return sum(map(len, self.blocks))

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.intp], Ids]:
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def fill(self, wanted: Ids, into: Frame, at_row: int, first: int, last: int, unpacked: BlockReader) -> None:
        """As `OpenRows.fill`; `wanted` is ascending. `unpacked` gives a block's samples, perhaps from memory."""
        order, sorted_ids = self._by_id
        at = np.searchsorted(sorted_ids, wanted)
        found = np.flatnonzero(sorted_ids[np.minimum(at, len(sorted_ids) - 1)] == wanted) if len(sorted_ids) else at[:0]
        columns = order[at[found]]
        rows = slice(at_row, at_row + last - first)
        for block in np.unique(columns // BLOCK_COLUMNS):
            inside = columns // BLOCK_COLUMNS == block
            bits, present = unpacked(self, int(block))
            here = columns[inside] % BLOCK_COLUMNS
            into.bits[rows, found[inside]] = bits[first:last, here]
            into.present[rows, found[inside]] = present[first:last, here]
        if len(self.break_rows):
            self._fill_breaks(columns, found, into, at_row, first, last)

    def _fill_breaks(
        self, columns: NDArray[np.intp], there: NDArray[np.intp], into: Frame, at_row: int, first: int, last: int
    ) -> None:
        frame_column = np.full(len(self.ids), -1, np.intp)
        frame_column[columns] = there
        to = frame_column[self.break_columns]
        ours = (to >= 0) & (self.break_rows >= first) & (self.break_rows < last)
        into.breaks[self.break_rows[ours] - first + at_row, to[ours]] = True

    def unpack_block(self, block: int) -> tuple[Bits, Mask]:
        """Shapes (ticks, columns of this block); ValueError if damaged."""
        columns = min(BLOCK_COLUMNS, len(self.ids) - block * BLOCK_COLUMNS)
        return unpack(self.blocks[block], len(self.times), columns)

    def shifted(self, by_ms: int) -> SealedChunk:
        return SealedChunk(
            self.times + by_ms,
            self.durations,
            self.ids,
            self.blocks,
            self.break_rows,
            self.break_columns,
            self.number,
        )


BlockReader = Callable[[SealedChunk, int], tuple[Bits, Mask]]


def seal(rows: OpenRows, number: int, kinds: Sequence[Series]) -> SealedChunk:
    """Pack what was read of a chunk. Columns of one kind and name side by side pack better, so they are sorted.

    Args:
        kinds: the series of rows.ids, in that order.
    """
    order = np.array(sorted(range(len(kinds)), key=lambda i: (kinds[i].kind, kinds[i].key)), np.intp)
    bits, present = rows.bits[: rows.rows, order], rows.present[: rows.rows, order]
    has_any = present.any(axis=0)
    order, bits, present = order[has_any], bits[:, has_any], present[:, has_any]
    blocks = tuple(
        pack(bits[:, first : first + BLOCK_COLUMNS], present[:, first : first + BLOCK_COLUMNS])
        for first in range(0, len(order), BLOCK_COLUMNS)
    )
    break_rows, break_columns = np.nonzero(rows.breaks[: rows.rows, order])
    return SealedChunk(
        rows.times.copy(),
        rows.durations.copy(),
        rows.ids[order].copy(),
        blocks,
        break_rows.astype(np.int32),
        break_columns.astype(np.int32),
        number,
    )


def _common_columns(ids: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    _, here, there = np.intersect1d(ids, wanted, assume_unique=True, return_indices=True)
    return here, there


def _widened(array: NDArray[Scalar], capacity: int) -> NDArray[Scalar]:
    grown = np.zeros((*array.shape[:-1], capacity), array.dtype)
    grown[..., : array.shape[-1]] = array
    return grown
