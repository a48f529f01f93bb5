"""Functions along time: how fast, how much more, and gaps filled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from manor.cantal.query.datasets import Chart, Dataset, Incompatible, Reason, SeriesSet, TipSet, float_series
from manor.cantal.query.increase import steps
from manor.cantal.store.frame import Frame, float_bits
from manor.cantal.store.series import Kind, Series


def _frame(of: SeriesSet) -> Frame:
    return Frame(of.times, of.members, of.bits, of.present, of.breaks)


def _later(of: SeriesSet) -> SeriesSet:
    """The same without its oldest tick: what differences are stamped with."""
    return replace(of, times=of.times[1:], bits=of.bits[1:], present=of.present[1:], breaks=of.breaks[1:])


def non_negative_derivative(dataset: Dataset) -> Dataset:
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.CantDerive)
    step = steps(dataset.times, dataset.members, _frame(dataset), over_gaps=False)
    return float_series(_later(dataset), step.change * 1000 / step.span_ms, step.counted & step.grown)


def derivative(dataset: Dataset) -> Dataset:
    """Levels may fall, and then fall at a negative rate."""
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.CantDerive)
    step = steps(dataset.times, dataset.members, _frame(dataset), over_gaps=False)
    return float_series(
        _later(dataset), step.change * 1000 / step.span_ms, step.counted & (step.grown | ~dataset.cumulative())
    )


def rate(dataset: Dataset, max_gap_ms: int) -> Dataset:
    """Over gaps of at most `max_gap_ms`, and over restarts, which begin at 0."""
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.CantDerive)
    step = steps(dataset.times, dataset.members, _frame(dataset), over_gaps=True)
    adjacent = dataset.present[:-1]
    near = adjacent | (step.span_ms <= max_gap_ms)
    change = np.where(dataset.cumulative() & ~step.grown, step.newer, step.change)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float_series(_later(dataset), change * 1000 / step.span_ms, step.counted & near)


def delta(dataset: Dataset) -> Dataset:
    """The increase per interval, kind kept."""
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.CantDerive)
    step = steps(dataset.times, dataset.members, _frame(dataset), over_gaps=False)
    restarted = dataset.cumulative() & ~step.grown
    exact = np.where(restarted, dataset.bits[1:], dataset.bits[1:] - dataset.bits[:-1])
    inexact = float_bits(np.where(restarted, step.newer, step.change))
    later = _later(dataset)
    return replace(
        later,
        members=tuple(Series(member.key, member.kind) for member in dataset.members),
        bits=np.where(dataset.kinds() == Kind.FLOAT, inexact, exact),
        present=step.counted,
        breaks=np.zeros_like(later.breaks),
    )


def fill_gaps(dataset: Dataset, max_ms: int) -> Dataset:
    """Repeats the older sample over absent ones until it is `max_ms` old."""
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.Unsupported)
    if not len(dataset.times):
        return dataset
    rows = np.arange(len(dataset.times))[:, None]
    newest = np.maximum.accumulate(np.where(dataset.present, rows, -1), axis=0)
    at = np.maximum(newest, 0)
    near = (newest >= 0) & (dataset.times[:, None] - dataset.times[at] <= max_ms)
    bits = np.take_along_axis(dataset.bits, at, axis=0)
    return replace(dataset, bits=bits, present=dataset.present | near)


def scale(dataset: Dataset, factor: float) -> Dataset:
    if isinstance(dataset, SeriesSet):
        return float_series(dataset, dataset.floats() * factor, dataset.present)
    if isinstance(dataset, TipSet):
        if dataset.states:
            return Incompatible(Reason.CantSumStates)
        members = tuple(Series(member.key, Kind.FLOAT) for member in dataset.members)
        return replace(dataset, members=members, bits=float_bits(dataset.floats() * factor))
    assert isinstance(dataset, Chart)
    return Incompatible(Reason.Unsupported)
