"""Many samples to one: sums, means, extremes over runs of rows or columns of an array of samples."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.frame import Bits, Floats, Mask, as_floats, float_bits
from manor.cantal.store.series import Kind

OPERATIONS: Final = ("sum", "mean", "min", "max", "count", "first", "last")

_TYPES: Final[dict[Kind, Any]] = {Kind.COUNTER: np.uint64, Kind.INTEGER: np.int64, Kind.FLOAT: np.float64}


class Reduced(NamedTuple):
    bits: Bits
    present: Mask
    kind: Kind


def reduce_runs(bits: Bits, present: Mask, kind: Kind, starts: NDArray[np.intp], axis: int, operation: str) -> Reduced:
    """One sample for each run along `axis`; runs begin at `starts` (0 first, growing). Absent ones are ignored."""
    some: Mask = np.logical_or.reduceat(present, starts, axis=axis)
    if operation == "count":
        counts = np.add.reduceat(present.astype(np.int64), starts, axis=axis)
        return Reduced(counts.view(np.uint64), np.ones_like(some), Kind.INTEGER)
    if operation == "mean":
        values = np.where(present, _floats(bits, kind), 0.0)
        counts = np.add.reduceat(present.astype(np.float64), starts, axis=axis)
        means = np.add.reduceat(values, starts, axis=axis) / np.maximum(counts, 1)
        return Reduced(float_bits(means), some, Kind.FLOAT)
    if operation == "sum":
        return _sum(bits, present, kind, starts, axis, some)
    if operation in {"min", "max"}:
        return _extreme(bits, present, kind, starts, axis, some, operation)
    return _end(bits, present, kind, starts, axis, some, operation)


def _sum(bits: Bits, present: Mask, kind: Kind, starts: NDArray[np.intp], axis: int, some: Mask) -> Reduced:
    """A sum of integers that does not fit its kind becomes Float."""
    about = np.add.reduceat(np.where(present, _floats(bits, kind), 0.0), starts, axis=axis)
    if kind is Kind.FLOAT:
        return Reduced(float_bits(about), some, kind)
    low, high = (0.0, 2.0**64) if kind is Kind.COUNTER else (-(2.0**63), 2.0**63)
    if bool(((about < low) | (about >= high)).any()):
        return Reduced(float_bits(about), some, Kind.FLOAT)
    return Reduced(np.add.reduceat(np.where(present, bits, np.uint64(0)), starts, axis=axis), some, kind)


def _extreme(
    bits: Bits, present: Mask, kind: Kind, starts: NDArray[np.intp], axis: int, some: Mask, operation: str
) -> Reduced:
    values = np.ascontiguousarray(bits).view(_TYPES[kind])
    if kind is Kind.FLOAT:
        low, high = -np.inf, np.inf
    else:
        limits = np.iinfo(_TYPES[kind])
        low, high = limits.min, limits.max
    function = np.minimum if operation == "min" else np.maximum
    filled = np.where(present, values, np.array(high if operation == "min" else low, _TYPES[kind]))
    return Reduced(np.ascontiguousarray(function.reduceat(filled, starts, axis=axis)).view(np.uint64), some, kind)


def _end(
    bits: Bits, present: Mask, kind: Kind, starts: NDArray[np.intp], axis: int, some: Mask, operation: str
) -> Reduced:
    """The first or last present sample of each run."""
    length = bits.shape[axis]
    places = np.arange(length).reshape((-1, 1) if axis == 0 else (1, -1))
    if operation == "first":
        at = np.minimum.reduceat(np.where(present, places, length), starts, axis=axis)
    else:
        at = np.maximum.reduceat(np.where(present, places, -1), starts, axis=axis)
    return Reduced(np.take_along_axis(bits, np.clip(at, 0, length - 1), axis=axis), some, kind)


def _floats(bits: Bits, kind: Kind) -> Floats:
    return as_floats(bits, np.full(bits.shape[-1], kind, np.uint8))
