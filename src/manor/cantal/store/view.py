"""What a reader sees of a store: fixed at one moment, while ticks go on arriving.

`View` is all that query evaluation needs. The store of this machine offers one; what came from another machine as
a frame becomes one by `FrameView`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from manor.cantal.store.chunk import OpenRows, SealedChunk
from manor.cantal.store.frame import Bits, Frame, Mask, Times, empty_frame
from manor.cantal.store.keys import Key
from manor.cantal.store.series import Condition, Ids, Series, SeriesTable
from manor.cantal.store.states import StateSample, matching_states

CACHED_BLOCK_BYTES_MAX = 16 << 20


class Tips(NamedTuple):
    """The newest sample of each asked series; `times` is 0 where there is none in the window."""

    times: Times
    bits: Bits


class View(Protocol):
    """Samples one can ask questions about. Ids mean something to this view only."""

    @property
    def interval_ms(self) -> int: ...

    @property
    def times(self) -> Times:
        """All ticks of the window, oldest first."""
        ...

    def matching(self, condition: Condition) -> Ids:
        """Which series are meant, ascending ids."""
        ...

    def series(self, ids: Ids) -> list[Series]: ...

    def frame(self, ids: Ids, first: int, last: int) -> Frame:
        """All samples of these (ascending) ids at ticks first..last-1 of `times`."""
        ...

    def tips(self, ids: Ids) -> Tips: ...

    def states(self, condition: Condition) -> list[StateSample]: ...


class BlockCache:
    """Recently unpacked blocks of sealed chunks, shared by all views of a store."""

    def __init__(self, bytes_max: int = CACHED_BLOCK_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._blocks: OrderedDict[tuple[int, int], tuple[Bits, Mask]] = OrderedDict()
        self._lock = Lock()

    def read(self, chunk: SealedChunk, block: int) -> tuple[Bits, Mask]:
        place = (chunk.number, block)
        with self._lock:
            if place in self._blocks:
                self._blocks.move_to_end(place)
                return self._blocks[place]
        unpacked = chunk.unpack_block(block)
        with self._lock:
            if place not in self._blocks:
                self._blocks[place] = unpacked
                self._bytes += _size(unpacked)
            while self._bytes > self._bytes_max and len(self._blocks) > 1:
                self._bytes -= _size(self._blocks.popitem(last=False)[1])
        return unpacked


def _size(unpacked: tuple[Bits, Mask]) -> int:
    return sum(array.nbytes for array in unpacked)


@dataclass(frozen=True, slots=True)
class LocalView:
    """A store at one moment. Chunks oldest first; `hidden` ticks of the first are outside the window."""

    interval_ms: int
    times: Times
    table: SeriesTable
    chunks: tuple[SealedChunk | OpenRows, ...]
    hidden: int
    newest: Tips  # by id
    newest_states: Mapping[Key, StateSample]
    cache: BlockCache

    def matching(self, condition: Condition) -> Ids:
        ids = self.table.matching(condition)
        return ids[ids < len(self.newest.times)]  # later ones have come since

    def series(self, ids: Ids) -> list[Series]:
        return self.table.series(ids)

    def frame(self, ids: Ids, first: int, last: int) -> Frame:
        frame = empty_frame(self.times[first:last], self.series(ids))
        first, last = first + self.hidden, last + self.hidden
        start = 0  # of the chunk, counted from the first tick of the first chunk
        for chunk in self.chunks:
            end = start + len(chunk.times)
            inside = max(first, start) - start, min(last, end) - start
            if inside[0] < inside[1]:
                at_row = start + inside[0] - first
                if isinstance(chunk, OpenRows):
                    chunk.fill(ids, frame, at_row, *inside)
                else:
                    chunk.fill(ids, frame, at_row, *inside, self.cache.read)
            start = end
        return frame

    def tips(self, ids: Ids) -> Tips:
        times = self.newest.times[ids]
        oldest = self.times[0] if len(self.times) else 0
        return Tips(np.where(times >= oldest, times, 0), self.newest.bits[ids])

    def states(self, condition: Condition) -> list[StateSample]:
        return matching_states(self.newest_states.values(), condition)


@dataclass(frozen=True, slots=True)
class FrameView:
    """A frame one can ask questions about: ids are column numbers."""

    data: Frame
    interval_ms: int
    newest_states: Sequence[StateSample] = ()

    @property
    def times(self) -> Times:
        return self.data.times

    def matching(self, condition: Condition) -> Ids:
        return np.array([i for i, s in enumerate(self.data.series) if condition.matches(dict(s.key))], np.int32)

    def series(self, ids: Ids) -> list[Series]:
        return [self.data.series[i] for i in ids]

    def frame(self, ids: Ids, first: int, last: int) -> Frame:
        return self.data.ticks(first, last).columns(ids.astype(np.intp))

    def tips(self, ids: Ids) -> Tips:
        present = self.data.present[:, ids]
        if not len(present):
            return Tips(np.zeros(len(ids), np.int64), np.zeros(len(ids), np.uint64))
        newest = len(present) - 1 - np.argmax(present[::-1], axis=0)
        times = np.where(present.any(axis=0), self.data.times[newest], 0)
        return Tips(times, self.data.bits[newest, ids])

    def states(self, condition: Condition) -> list[StateSample]:
        return matching_states(self.newest_states, condition)
