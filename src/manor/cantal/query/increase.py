"""How much samples grew, over falls and gaps and breaks. The one place of these rules.

Of two samples of one series the newer is `a`, the older `b`. What only grows (Counters, cumulative Floats) fell
because it was begun anew: then all of `a` is new. Arithmetic on integers is exact: differences are taken modulo 2^64
and only then become floats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.frame import Bits, Floats, Frame, Mask, as_floats, float_bits
from manor.cantal.store.series import Kind, Series


class Steps(NamedTuple):
    """From every present sample to the one it is compared with. Shapes: (ticks - 1, columns), row 0 is tick 1."""

    counted: Mask  # both are there, both finite, no break between
    grown: Mask  # a >= b
    change: Floats  # a - b
    newer: Floats  # a
    span_ms: NDArray[np.int64]  # between the two


def steps(times: NDArray[np.int64], series: tuple[Series, ...], frame: Frame, *, over_gaps: bool) -> Steps:
    """Compare each sample with the one a tick before; with `over_gaps` with the newest one before it."""
    rows = np.arange(len(times))[:, None]
    present = frame.present
    known = np.where(present, rows, -1)
    before = np.maximum.accumulate(known, axis=0)[:-1] if over_gaps else known[:-1]
    older = np.take_along_axis(frame.bits, np.maximum(before, 0), axis=0) if len(times) else frame.bits[:0]
    newer = frame.bits[1:]
    kinds = np.fromiter((one.kind for one in series), np.uint8, len(series))
    a, b = as_floats(newer, kinds), as_floats(older, kinds)
    grown = np.where(kinds == Kind.COUNTER, newer >= older, a >= b)
    integers = kinds == Kind.INTEGER
    if integers.any():
        grown[:, integers] = newer[:, integers].view(np.int64) >= older[:, integers].view(np.int64)
    with np.errstate(invalid="ignore"):
        change = a - b
    exact = kinds != Kind.FLOAT
    if exact.any():
        up, down = newer - older, older - newer  # modulo 2^64: one of them is the distance
        distance = np.where(grown, up, down).astype(np.float64)
        change = np.where(exact, np.where(grown, distance, -distance), change)
    counted = present[1:] & (before >= 0) & ~frame.breaks[1:] & np.isfinite(a) & np.isfinite(b)
    span = times[1:, None] - times[np.maximum(before, 0)] if len(times) else np.zeros((0, len(series)), np.int64)
    return Steps(counted, grown, change, a, span)


def increase(frame: Frame) -> Bits:
    """The sum of all increases of each column, over any gap; kind unchanged. Every column has a sample."""
    kinds, rows = frame.kinds(), np.arange(len(frame.times))[:, None]
    known = np.maximum.accumulate(np.where(frame.present, rows, -1), axis=0)
    before, newer = known[:-1], frame.bits[1:]
    older = np.take_along_axis(frame.bits, np.maximum(before, 0), axis=0)
    counted = frame.present[1:] & (before >= 0) & ~frame.breaks[1:]
    total: Bits = np.where(counted, newer - older, np.uint64(0)).sum(axis=0, dtype=np.uint64)
    counters = kinds == Kind.COUNTER
    restarted = np.where(counted, np.where(newer >= older, newer - older, newer), np.uint64(0))
    total = np.where(counters, restarted.sum(axis=0, dtype=np.uint64), total)
    floating = kinds == Kind.FLOAT
    if floating.any():
        total[floating] = float_bits(
            _float_increase(frame.columns(floating), newer[:, floating], older[:, floating], counted[:, floating])
        )
    return total


def _float_increase(frame: Frame, newer: Bits, older: Bits, counted: Mask) -> Floats:
    a, b = (np.ascontiguousarray(bits).view(np.float64) for bits in (newer, older))
    cumulative = np.array([one.cumulative for one in frame.series], bool)
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore"):
        change = np.where(cumulative & (a < b), a, a - b)
    total: Floats = np.where(counted & finite, change, 0.0).sum(axis=0)
    return total
