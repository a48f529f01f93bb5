"""Extracts: which samples of the selected series are taken.

Single-valued ones give tips, the others series. A series without any sample among what is taken is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from manor.cantal.query import limits
from manor.cantal.query.arguments import Check, arguments, count, form, milliseconds
from manor.cantal.query.datasets import Dataset, SeriesSet, TipSet
from manor.cantal.query.errors import QueryTooBig
from manor.cantal.query.increase import increase
from manor.cantal.store.frame import Frame
from manor.cantal.store.series import Condition, Ids, Kind, Series
from manor.cantal.store.view import View


class SampleBudget:
    """Counts the samples a document takes; more than allowed is an error before they are read."""

    def __init__(self, most: int = limits.SAMPLES_MAX) -> None:
        self._most = most
        self._taken = 0

    def take(self, samples: int) -> None:
        self._taken += samples
        if self._taken > self._most:
            raise QueryTooBig(f"{self._taken} samples are asked for; {self._most} is the most a document may take")


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest sample of each series; not older than `within_ms` before the newest tick, if given."""

    within_ms: int | None = None

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        budget.take(len(ids))
        tips = view.tips(ids)
        newest_tick = int(view.times[-1]) if len(view.times) else 0
        kept = tips.times > 0
        if self.within_ms is not None:
            kept &= tips.times >= newest_tick - self.within_ms
        times = tips.times[kept]
        return TipSet(tuple(view.series(ids[kept])), tips.bits[kept], times, times)


@dataclass(frozen=True, slots=True)
class DiffToAtMost:
    """From the newest sample back to the oldest one among the `ticks` ticks before the newest."""

    ticks: int

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        first = max(0, len(view.times) - 1 - self.ticks)
        budget.take((len(view.times) - first) * len(ids))
        frame = view.frame(ids, first, len(view.times))
        present = frame.present.sum(axis=0) >= 2
        frame = frame.columns(present)
        if not len(frame.series):
            return TipSet((), frame.bits[:0].ravel(), frame.times[:0], frame.times[:0], spans=True)
        oldest = np.argmax(frame.present, axis=0)
        newest = len(frame.times) - 1 - np.argmax(frame.present[::-1], axis=0)
        return TipSet(frame.series, increase(frame), frame.times[newest], frame.times[oldest], spans=True)


@dataclass(frozen=True, slots=True)
class HistoryByNum:
    """The newest n ticks."""

    ticks: int

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        return _series(view, ids, max(0, len(view.times) - self.ticks), len(view.times), budget)


@dataclass(frozen=True, slots=True)
class HistoryByTime:
    """From the newest tick back to and including the first that is at least `ms` older; all if none is."""

    ms: int

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        times = view.times
        if not len(times):
            return _series(view, ids, 0, 0, budget)
        first = int(np.searchsorted(times, times[-1] - self.ms, side="right")) - 1
        return _series(view, ids, max(0, first), len(times), budget)


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """Ticks with from <= t <= to."""

    from_ms: int
    to_ms: int

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        first = int(np.searchsorted(view.times, self.from_ms, side="left"))
        last = int(np.searchsorted(view.times, self.to_ms, side="right"))
        return _series(view, ids, first, max(first, last), budget)


@dataclass(frozen=True, slots=True)
class HistorySince:
    """Ticks with t > the given one."""

    ms: int

    def take(self, view: View, ids: Ids, budget: SampleBudget) -> Dataset:
        first = int(np.searchsorted(view.times, self.ms, side="right"))
        return _series(view, ids, first, len(view.times), budget)


Extract: TypeAlias = Tip | DiffToAtMost | HistoryByNum | HistoryByTime | HistoryRange | HistorySince

EXTRACTS: Final[dict[str, tuple[tuple[Check, ...], Callable[..., Extract]]]] = {
    "Tip": ((), Tip),
    "FreshTip": ((milliseconds,), Tip),
    "DiffToAtMost": ((count,), DiffToAtMost),
    "HistoryByNum": ((count,), HistoryByNum),
    "HistoryByTime": ((milliseconds,), HistoryByTime),
    "HistoryRange": ((milliseconds, milliseconds), HistoryRange),
    "HistorySince": ((milliseconds,), HistorySince),
}


def parse_extract(value: Any, path: str) -> Extract:
    name, given = form(value, path, EXTRACTS, "extract")
    checks, make = EXTRACTS[name]
    return make(*arguments(name, given, checks, path))


def take_states(view: View, condition: Condition) -> Dataset:
    """The source `Tip`: newest States, whatever the extract."""
    states = sorted(view.states(condition), key=lambda state: state.key)
    seen = np.array([state.seen_at for state in states], np.int64)
    return TipSet(
        tuple(Series(state.key, Kind.STATE) for state in states),
        np.zeros(len(states), np.uint64),
        seen,
        seen,
        tuple((state.since, state.text) for state in states),
    )


def _series(view: View, ids: Ids, first: int, last: int, budget: SampleBudget) -> Dataset:
    budget.take((last - first) * len(ids))
    return series_set(view.frame(ids, first, last))


def series_set(frame: Frame) -> SeriesSet:
    """A frame as a dataset: series without a sample left out, members in the order of their keys."""
    order = sorted(np.flatnonzero(frame.present.any(axis=0)).tolist(), key=lambda i: frame.series[i])
    frame = frame.columns(np.array(order, np.intp))
    return SeriesSet(frame.times, frame.series, frame.bits, frame.present, frame.breaks)
