"""The store: the last hour of everything, in memory, without loss. Start reading here.

One thread writes (the scanner: `intern`, `append`), any thread reads (`view`), and one worker seals what is full
(`seal_full`). Per tick the whole machine is one array of ids and one of 64-bit values; nothing happens per series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import NamedTuple

import numpy as np

from manor.cantal.store.chunk import OpenChunk, OpenRows, SealedChunk, seal
from manor.cantal.store.frame import Bits, Frame, Times
from manor.cantal.store.keys import Key
from manor.cantal.store.series import Condition, Ids, Series, SeriesTable
from manor.cantal.store.states import States, StateSample
from manor.cantal.store.view import BlockCache, LocalView, Tips

SERIES_MAX = 200_000  # of the whole store, if the configuration says nothing else

NO_IDS: Ids = np.zeros(0, np.int32)


class Contents(NamedTuple):
    """What a store holds: sealed chunks oldest first, the open one, States."""

    table: SeriesTable
    sealed: tuple[SealedChunk, ...]
    unsealed: OpenRows
    states: Mapping[Key, StateSample]


class Store:
    """History of one machine."""

    def __init__(self, interval_ms: int, keep_history_ms: int, series_max: int = SERIES_MAX) -> None:
        self.interval_ms = interval_ms
        self.keep_history_ms = keep_history_ms
        self.table = SeriesTable(series_max)
        self.states = States()
        self.ticks_seen = 0
        self._lock = Lock()  # held for moments: exchanging chunks, taking a view
        self._chunks: tuple[SealedChunk | OpenRows, ...] = ()  # all but the open one, oldest first
        self._open = OpenChunk()
        self._newest_times: Times = np.zeros(0, np.int64)  # by id
        self._newest_bits: Bits = np.zeros(0, np.uint64)
        self._discontinued = np.zeros(0, bool)  # by id: the next sample does not continue what is stored
        self._cache = BlockCache()
        self._next_number = 1

    # -- writing -----------------------------------------------------------------------------------------------

    def append(self, time: int, duration: int, ids: Ids, bits: Bits, broken: Ids = NO_IDS) -> None:
        """One tick. Ids are distinct and of `table`; `broken` are those of them that continue nothing (a break)."""
        assert time > self.newest_tick, "timestamps are strictly increasing"
        with self._lock:
            if self._open.is_full:
                self._chunks = (*self._chunks, self._open.reading())
                self._open = OpenChunk()
            self._make_room(self.table.capacity)
            stale = self._discontinued[ids]
            if stale.any():
                broken = np.union1d(broken, ids[stale])
                self._discontinued[ids] = False
            self._open.append(time, duration, ids, bits, broken)
            self._newest_times[ids] = time
            self._newest_bits[ids] = bits
            self.ticks_seen += 1
            self._drop_before(time - self.keep_history_ms)

    def update_states(self, samples: Iterable[StateSample]) -> None:
        self.states.update(samples, self.newest_tick)

    def shift(self, by_ms: int) -> None:
        """The wall clock was stepped: move every tick, so that spans between old ticks stay true."""
        with self._lock:
            self._chunks = tuple(_shifted(chunk, by_ms) for chunk in self._chunks)
            self._open.shift(by_ms)
            self._newest_times = np.where(self._newest_times > 0, self._newest_times + by_ms, 0)
            self.states.shift(by_ms)

    def restore(self, chunks: Iterable[SealedChunk], *, same_boot: bool) -> None:
        """Begin with what an earlier life of this agent stored, oldest first, ids of `table`.

        After another boot nothing continues: the first new sample of every series carries a break.
        """
        with self._lock:
            assert not self.ticks_seen and not self._chunks
            self._make_room(self.table.capacity)
            restored = tuple(chunks)
            self._chunks = restored
            for chunk in reversed(restored):
                self._take_newest(chunk)
            self._discontinued[:] = not same_boot
            self._next_number = 1 + max((chunk.number for chunk in restored), default=0)

    def seal_full(self, keep: Callable[[SealedChunk], None] | None = None) -> int:
        """Seal the chunks that are full, in the worker's thread; `keep` is given each one. Returns how many."""
        sealed = 0
        with self._lock:
            table, full = self.table, [chunk for chunk in self._chunks if isinstance(chunk, OpenRows)]
        for chunk in full:
            number, self._next_number = self._next_number, self._next_number + 1
            packed = seal(chunk, number, table.series(chunk.ids))
            with self._lock:
                moved = next((c for c in self._chunks if isinstance(c, OpenRows) and c.bits is chunk.bits), None)
                if moved is None:
                    continue  # out of the window meanwhile
                if moved is not chunk:  # the clock was stepped meanwhile
                    packed = packed.shifted(int(moved.times[0] - chunk.times[0]))
                self._chunks = tuple(packed if c is moved else c for c in self._chunks)
            sealed += 1
            if keep is not None:
                keep(packed)
        return sealed

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def newest_tick(self) -> int:
        """ms since 1970; 0 before the first."""
        times = self._open.reading().times
        if not len(times) and self._chunks:
            times = self._chunks[-1].times
        return int(times[-1]) if len(times) else 0

    def view(self) -> LocalView:
        """What is there now; stays as it is."""
        with self._lock:
            chunks: tuple[SealedChunk | OpenRows, ...] = (*self._chunks, self._open.reading())
            newest = Tips(self._newest_times.copy(), self._newest_bits.copy())
            table, states = self.table, self.states.snapshot()
        times = np.concatenate([chunk.times for chunk in chunks])
        hidden = int(np.searchsorted(times, times[-1] - self.keep_history_ms)) if len(times) else 0
        return LocalView(self.interval_ms, times[hidden:], table, chunks, hidden, newest, states, self._cache)

    def matching(self, condition: Condition) -> tuple[Ids, list[Series]]:
        """Which series are meant: their ids, as of the present table generation, and what they are."""
        table = self.table
        ids = table.matching(condition)
        return ids, table.series(ids)

    def since(self, time: int, condition: Condition) -> Frame:
        """All samples of the meant series at ticks later than `time`."""
        view = self.view()
        first = int(np.searchsorted(view.times, time, side="right"))
        return view.frame(view.matching(condition), first, len(view.times))

    def stored_bytes(self) -> int:
        """Of sealed chunks."""
        return sum(chunk.stored_bytes for chunk in self._chunks if isinstance(chunk, SealedChunk))

    def contents(self) -> Contents:
        """Everything that is to be saved, at one moment."""
        with self._lock:
            sealed = tuple(chunk for chunk in self._chunks if isinstance(chunk, SealedChunk))
            return Contents(self.table, sealed, self._open.reading(), self.states.snapshot())

    # -- details -----------------------------------------------------------------------------------------------

    def _make_room(self, capacity: int) -> None:
        missing = capacity - len(self._newest_times)
        if missing > 0:
            missing = max(missing, len(self._newest_times))
            self._newest_times = np.concatenate([self._newest_times, np.zeros(missing, np.int64)])
            self._newest_bits = np.concatenate([self._newest_bits, np.zeros(missing, np.uint64)])
            self._discontinued = np.concatenate([self._discontinued, np.zeros(missing, bool)])

    def _take_newest(self, part: SealedChunk) -> None:
        """The newest samples of series of which no newer one is known."""
        ids = np.sort(part.ids[self._newest_times[part.ids] == 0])
        if not len(ids):
            return
        newest_known = Tips(self._newest_times, self._newest_bits)
        view = LocalView(self.interval_ms, part.times, self.table, (part,), 0, newest_known, {}, self._cache)
        frame = view.frame(ids, 0, len(part.times))
        newest = len(frame.times) - 1 - np.argmax(frame.present[::-1], axis=0)
        here = frame.present.any(axis=0)
        self._newest_times[ids[here]] = frame.times[newest[here]]
        self._newest_bits[ids[here]] = frame.bits[newest, np.arange(len(ids))][here]

    def _drop_before(self, oldest: int) -> None:
        """Let chunks go that lie wholly outside the window, and forget series that were in no other."""
        while self._chunks and self._chunks[0].times[-1] < oldest:
            self._chunks = self._chunks[1:]
            alive = np.zeros(len(self._newest_times), bool)
            for chunk in (*self._chunks, self._open.reading()):
                alive[chunk.ids] = True
            known = self.table.all_ids()
            lost = known[~alive[known]]
            if len(lost):
                self._newest_times[lost] = 0
                self._discontinued[lost] = False
                self.table = self.table.without(lost.tolist())


def _shifted(chunk: SealedChunk | OpenRows, by_ms: int) -> SealedChunk | OpenRows:
    if isinstance(chunk, SealedChunk):
        return chunk.shifted(by_ms)
    return OpenRows(
        chunk.rows,
        chunk.all_times + by_ms,
        chunk.durations,
        chunk.ids,
        chunk.bits,
        chunk.present,
        chunk.breaks,
    )
