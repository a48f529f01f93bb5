"""A source of one or several files at work: reads them, and knows the ids of the columns they had last time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from manor.cantal.sources.file_source import Reading
from manor.cantal.sources.kept_file import Descriptors, KeptFile
from manor.cantal.store.frame import Bits, Mask
from manor.cantal.store.series import Columns, Ids, Series, SeriesTable
from manor.cantal.store.store import NO_IDS

NO_BITS: Bits = np.zeros(0, np.uint64)


class Samples(NamedTuple):
    """Samples of one tick: an id and 64 bits each."""

    ids: Ids
    bits: Bits


NO_SAMPLES = Samples(NO_IDS, NO_BITS)


class UnknownShape(Exception):
    """The kernel says something in a form this source does not know."""


class Feed:
    """Reads its files at `read`; raises OSError if one is gone, UnknownShape if one cannot be understood."""

    def __init__(
        self,
        paths: Sequence[str],
        parse: Callable[[Sequence[bytes]], Reading],
        series: Callable[[Hashable], Sequence[Series | None]],
        descriptors: Descriptors,
    ) -> None:
        self._files = [KeptFile(path, descriptors) for path in paths]
        self._parse = parse
        self._series = series
        self._shape: Hashable = None
        self._kept = np.zeros(0, bool)  # which numbers are samples
        self._columns = Columns(())
        self._bits = NO_BITS  # of the last reading, of all columns
        self._present: Mask | None = None

    def read(self, table: SeriesTable) -> Samples:
        texts = [file.read() for file in self._files]
        try:
            reading = self._parse(texts)
            if reading.shape != self._shape:
                self._learn(reading.shape)
            self._bits = reading.bits[self._kept]
            self._present = None if reading.present is None else reading.present[self._kept]
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise UnknownShape(f"{self._files[0].path}: {error}") from error
        return self.repeat(table)

    def repeat(self, table: SeriesTable) -> Samples:
        """What was read last."""
        ids = self._columns.ids(table)
        if self._present is None:
            return Samples(ids, self._bits)
        return Samples(ids[self._present], self._bits[self._present])

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _learn(self, shape: Hashable) -> None:
        series = self._series(shape)
        self._kept = np.array([one is not None for one in series], bool)
        self._columns = Columns([one for one in series if one is not None])
        self._shape = shape


def together(samples: Sequence[Samples]) -> Samples:
    """All of them as one."""
    if not samples:
        return NO_SAMPLES
    return Samples(np.concatenate([s.ids for s in samples]), np.concatenate([s.bits for s in samples]))
