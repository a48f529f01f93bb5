"""A rectangle of samples: ticks x series. The one form in which samples move between the parts of cantal.

Every sample is 64 bits; the kind of its series says how they are read. Absent is a bit of its own, apart from zero
and NaN, and where a sample is absent its 64 bits mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.series import Kind, Series

Times: TypeAlias = NDArray[np.int64]  # ms since 1970
Bits: TypeAlias = NDArray[np.uint64]
Mask: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples of some series over consecutive ticks, oldest first.

    Shapes: times (ticks,), series (columns,), bits, present and breaks (ticks, columns). A break on a sample says:
    this one does not continue the one before.
    """

    times: Times
    series: tuple[Series, ...]
    bits: Bits
    present: Mask
    breaks: Mask

    def columns(self, chosen: NDArray[np.intp] | Mask) -> Frame:
        """Only these columns."""
        positions = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        series = tuple(self.series[i] for i in positions)
        return Frame(self.times, series, self.bits[:, positions], self.present[:, positions], self.breaks[:, positions])

    def ticks(self, first: int, last: int) -> Frame:
        """Only the ticks first..last-1, counted from the oldest."""
        part = slice(first, last)
        return Frame(self.times[part], self.series, self.bits[part], self.present[part], self.breaks[part])

    def kinds(self) -> NDArray[np.uint8]:
        return np.fromiter((s.kind for s in self.series), np.uint8, len(self.series))


def empty_frame(times: Times, series: Sequence[Series]) -> Frame:
    """All absent."""
    shape = (len(times), len(series))
    return Frame(times, tuple(series), np.zeros(shape, np.uint64), np.zeros(shape, bool), np.zeros(shape, bool))


def join(older: Frame, newer: Frame) -> Frame:
    """One frame of both, ticks of `older` first; series are matched, what one side lacks is absent there.

    Ticks of `older` that are not before the first of `newer` are dropped: the newer frame knows better.
    """
    if len(newer.times):
        older = older.ticks(0, int(np.searchsorted(older.times, newer.times[0])))
    series = list(dict.fromkeys((*older.series, *newer.series)))
    position = {one: i for i, one in enumerate(series)}
    joined = empty_frame(np.concatenate([older.times, newer.times]), series)
    row = 0
    for part in (older, newer):
        rows = slice(row, row + len(part.times))
        into = np.fromiter((position[s] for s in part.series), np.intp, len(part.series))
        joined.bits[rows, into] = part.bits
        joined.present[rows, into] = part.present
        joined.breaks[rows, into] = part.breaks
        row += len(part.times)
    return joined


def as_floats(bits: Bits, kinds: NDArray[np.uint8]) -> Floats:
    """What the samples say, as floats; the last axis of `bits` runs along `kinds`."""
    values = np.array(bits, order="C").view(np.float64)
    counters, integers = kinds == Kind.COUNTER, kinds == Kind.INTEGER
    if counters.any():
        values[..., counters] = bits[..., counters].astype(np.float64)
    if integers.any():
        values[..., integers] = bits[..., integers].view(np.int64).astype(np.float64)
    return values


def float_bits(values: Floats) -> Bits:
    """The opposite for Floats."""
    return np.ascontiguousarray(values, np.float64).view(np.uint64)
