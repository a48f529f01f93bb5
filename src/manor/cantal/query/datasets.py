"""Datasets: what a rule is between two functions, and what is answered in the end.

Samples stay arrays of 64 bits, read by the kind of their member, oldest tick first; only the writer of the answer
turns them round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.frame import Bits, Floats, Mask, Times, as_floats, float_bits
from manor.cantal.store.keys import Key
from manor.cantal.store.series import Kind, Series

Kinds: TypeAlias = NDArray[np.uint8]


class Reason(IntEnum):
    """Why a function cannot be applied; names and numbers are those of the answers."""

    CantSumChart = 100
    Dissimilar = 101
    CantSumTimestamps = 102
    CantSumStates = 103
    CantDerive = 104
    UnexpectedType = 105
    Unsupported = 106


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """Members over common ticks. Shapes: times (ticks,), bits, present, breaks (ticks, members)."""

    times: Times
    members: tuple[Series, ...]
    bits: Bits
    present: Mask
    breaks: Mask
    single: bool = False

    def kinds(self) -> Kinds:
        return np.fromiter((member.kind for member in self.members), np.uint8, len(self.members))

    def cumulative(self) -> Mask:
        """Which only grow, so that a fall is a restart."""
        return np.array([m.kind is Kind.COUNTER or m.cumulative for m in self.members], bool)

    def floats(self) -> Floats:
        """NaN where absent."""
        return np.where(self.present, as_floats(self.bits, self.kinds()), np.nan)

    def chosen(self, members: Sequence[int] | NDArray[np.intp]) -> SeriesSet:
        at = np.asarray(members, np.intp)
        return replace(
            self,
            members=tuple(self.members[i] for i in at),
            bits=self.bits[:, at],
            present=self.present[:, at],
            breaks=self.breaks[:, at],
        )


@dataclass(frozen=True, slots=True)
class TipSet:
    """One value a member. Shapes: bits, newest, oldest (members,); a State's value is in `states` instead."""

    members: tuple[Series, ...]
    bits: Bits
    newest: Times
    oldest: Times
    states: tuple[tuple[int, str] | None, ...] = ()  # as long as members, or empty: no States
    spans: bool = False  # differences over a span: all are added, not only the newest
    single: bool = False

    def kinds(self) -> Kinds:
        return np.fromiter((member.kind for member in self.members), np.uint8, len(self.members))

    def floats(self) -> Floats:
        return as_floats(self.bits, self.kinds())

    def state(self, member: int) -> tuple[int, str]:
        found = self.states[member]
        assert found is not None
        return found

    def chosen(self, members: Sequence[int] | NDArray[np.intp]) -> TipSet:
        at = np.asarray(members, np.intp)
        return replace(
            self,
            members=tuple(self.members[i] for i in at),
            bits=self.bits[at],
            newest=self.newest[at],
            oldest=self.oldest[at],
            states=tuple(self.states[i] for i in at) if self.states else (),
        )


@dataclass(frozen=True, slots=True)
class Chart:
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Empty:
    pass


@dataclass(frozen=True, slots=True)
class Incompatible:
    reason: Reason


Dataset: TypeAlias = SeriesSet | TipSet | Chart | Empty | Incompatible


def float_series(of: SeriesSet, values: Floats, present: Mask, members: Sequence[Series] | None = None) -> SeriesSet:
    """Series of Floats over the same ticks; the result of a calculation, so without breaks."""
    keys: Sequence[Series] = of.members if members is None else members
    return SeriesSet(
        of.times,
        tuple(Series(member.key, Kind.FLOAT) for member in keys),
        float_bits(np.where(present, values, 0.0)),
        present,
        np.zeros_like(present),
        of.single,
    )


def renamed(members: Sequence[Key], kind: Kind) -> tuple[Series, ...]:
    return tuple(Series(key, kind) for key in members)
