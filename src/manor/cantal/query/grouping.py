"""Functions across members: sums and other aggregates by labels, quantiles, the largest, charts of states."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manor.cantal.query.datasets import (
    Chart,
    Dataset,
    Empty,
    Incompatible,
    Reason,
    SeriesSet,
    TipSet,
    float_series,
)
from manor.cantal.query.reduce import reduce_runs
from manor.cantal.store.frame import Bits, Floats, Mask, Times, as_floats, float_bits
from manor.cantal.store.keys import Key, key_of
from manor.cantal.store.series import Kind, Series

OTHER = "(other)"


class Groups(NamedTuple):
    """Members put together: `order` lists them group after group, group i begins at `starts[i]`."""

    keys: list[Key]
    order: NDArray[np.intp]
    starts: NDArray[np.intp]


class Table(NamedTuple):
    """Series or tips in one shape: tips are a table of one tick."""

    members: tuple[Series, ...]
    bits: Bits
    present: Mask
    breaks: Mask


def grouped(members: Sequence[Series], names: Sequence[str]) -> Groups:
    """By the values of these names, groups in the order of their keys; members without one of them are left out."""
    found: dict[Key, list[int]] = {}
    for i, member in enumerate(members):
        pairs = dict(member.key)
        if all(name in pairs for name in names):
            found.setdefault(key_of({name: pairs[name] for name in names}), []).append(i)
    keys = sorted(found)
    sizes = [len(found[key]) for key in keys]
    order = np.array([i for key in keys for i in found[key]], np.intp)
    return Groups(keys, order, np.cumsum([0, *sizes])[:-1].astype(np.intp))


def table_of(dataset: SeriesSet | TipSet) -> Table:
    """What counts of a dataset: of tips that are no differences only the newest ones, so the dead are not added."""
    if isinstance(dataset, SeriesSet):
        return Table(dataset.members, dataset.bits, dataset.present, dataset.breaks)
    present = np.ones(len(dataset.members), bool)
    if len(dataset.members) and not dataset.spans:
        present = dataset.newest == dataset.newest.max()
    rows = dataset.bits[None, :]
    return Table(dataset.members, rows, present[None, :], np.zeros_like(rows, bool))


def _refusal(dataset: Dataset, *, mixed_kinds: bool = False) -> Incompatible | None:
    """Why members cannot be put together."""
    if isinstance(dataset, Chart):
        return Incompatible(Reason.CantSumChart)
    assert isinstance(dataset, SeriesSet | TipSet)
    kinds = {member.kind for member in dataset.members}
    if len(kinds) > 1 and not mixed_kinds:
        return Incompatible(Reason.Dissimilar)
    return Incompatible(Reason.CantSumStates) if Kind.STATE in kinds else None


def _aggregate(dataset: SeriesSet | TipSet, groups: Groups, operation: str) -> SeriesSet | TipSet:
    """One member a group."""
    table = table_of(dataset)
    kind = table.members[int(groups.order[0])].kind
    bits, present = table.bits[:, groups.order], table.present[:, groups.order]
    bits, some, kind = reduce_runs(bits, present, kind, groups.starts, 1, operation)
    cumulative = kind is Kind.FLOAT and operation == "sum" and all(m.cumulative for m in table.members)
    members = tuple(Series(key, kind, cumulative) for key in groups.keys)
    if isinstance(dataset, SeriesSet):
        breaks = np.logical_or.reduceat(table.breaks[:, groups.order], groups.starts, axis=1)
        return SeriesSet(dataset.times, members, bits, some, breaks)
    newest, oldest = _slices(dataset, groups, present[0])
    made = TipSet(members, bits[0], newest, oldest, spans=dataset.spans)
    return made.chosen(np.flatnonzero(np.logical_or.reduceat(present[0], groups.starts)))


def _slices(dataset: TipSet, groups: Groups, present: NDArray[np.bool_]) -> tuple[Times, Times]:
    """Each group's slice spans those of the members that count."""
    latest, earliest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    newest = np.maximum.reduceat(np.where(present, dataset.newest[groups.order], latest), groups.starts)
    oldest = np.minimum.reduceat(np.where(present, dataset.oldest[groups.order], earliest), groups.starts)
    return newest, oldest


def sum_all(dataset: Dataset, _undefined: str) -> Dataset:
    refusal = _refusal(dataset)
    if refusal:
        return refusal
    assert isinstance(dataset, SeriesSet | TipSet)
    if not dataset.members:
        return Empty()
    if len(dataset.members) == 1:
        return replace(dataset, single=True)
    return replace(_aggregate(dataset, grouped(dataset.members, ()), "sum"), single=True)


def sum_by(dataset: Dataset, name: str, _undefined: str, total: bool) -> Dataset:
    refusal = _refusal(dataset)
    if refusal:
        return refusal
    assert isinstance(dataset, SeriesSet | TipSet)
    dataset, groups = _having(dataset, (name,))
    if not groups.keys:
        return dataset
    sums = _aggregate(dataset, groups, "sum")
    return _with_total(sums, _aggregate(dataset, grouped(dataset.members, ()), "sum")) if total else sums


def _having(dataset: SeriesSet | TipSet, names: Sequence[str]) -> tuple[SeriesSet | TipSet, Groups]:
    """Only the members that have all the names, and their groups."""
    having = dataset.chosen(np.sort(grouped(dataset.members, names).order))
    return having, grouped(having.members, names)


def _with_total(sums: SeriesSet | TipSet, total: SeriesSet | TipSet) -> SeriesSet | TipSet:
    if isinstance(sums, SeriesSet) and isinstance(total, SeriesSet):
        return SeriesSet(
            sums.times,
            (*sums.members, *total.members),
            np.hstack([sums.bits, total.bits]),
            np.hstack([sums.present, total.present]),
            np.hstack([sums.breaks, total.breaks]),
        )
    assert isinstance(sums, TipSet) and isinstance(total, TipSet)
    return TipSet(
        (*sums.members, *total.members),
        np.concatenate([sums.bits, total.bits]),
        np.concatenate([sums.newest, total.newest]),
        np.concatenate([sums.oldest, total.oldest]),
        spans=sums.spans,
    )


def aggregate(dataset: Dataset, operation: str, names: tuple[str, ...]) -> Dataset:
    refusal = _refusal(dataset, mixed_kinds=operation == "count")
    if refusal:
        return refusal
    assert isinstance(dataset, SeriesSet | TipSet)
    dataset, groups = _having(dataset, names)
    return _aggregate(dataset, groups, operation) if groups.keys else dataset


def quantiles(dataset: Dataset, shares: tuple[float, ...], names: tuple[str, ...]) -> Dataset:
    refusal = _refusal(dataset)
    if refusal:
        return refusal
    assert isinstance(dataset, SeriesSet | TipSet)
    dataset, groups = _having(dataset, names)
    table = table_of(dataset)
    kinds = np.fromiter((m.kind for m in table.members), np.uint8, len(table.members))
    values = np.where(table.present, as_floats(table.bits, kinds), np.nan)
    columns, members, group_of = [], [], []
    for i, (key, run) in enumerate(zip(groups.keys, np.split(groups.order, groups.starts[1:]), strict=True)):
        columns.append(_interpolated(values[:, run], np.array(shares)))
        members += [Series(key_of(dict(key), quantile=f"{share:g}"), Kind.FLOAT) for share in shares]
        group_of += [i] * len(shares)
    if not members:
        return dataset
    result = np.hstack(columns)
    if isinstance(dataset, SeriesSet):
        return float_series(replace(dataset, single=False), result, ~np.isnan(result), members)
    newest, oldest = _slices(dataset, groups, table.present[0][groups.order])
    made = TipSet(tuple(members), float_bits(result[0]), newest[group_of], oldest[group_of], spans=dataset.spans)
    return made.chosen(np.flatnonzero(~np.isnan(result[0])))


def _interpolated(values: Floats, shares: Floats) -> Floats:
    """(ticks, members) -> (ticks, shares): linear between the two nearest members; NaN where there is none."""
    ranked = np.sort(values, axis=1)  # NaN last
    counts = (~np.isnan(ranked)).sum(axis=1)[:, None]
    place = shares[None, :] * np.maximum(counts - 1, 0)
    low = np.floor(place).astype(np.intp)
    high = np.ceil(place).astype(np.intp)
    below, above = np.take_along_axis(ranked, low, 1), np.take_along_axis(ranked, high, 1)
    result: Floats = below + (above - below) * (place - low)
    return result


def top_k(dataset: Dataset, k: int, operation: str) -> Dataset:
    return _ranked(dataset, k, operation, -1.0)


def bottom_k(dataset: Dataset, k: int, operation: str) -> Dataset:
    return _ranked(dataset, k, operation, 1.0)


def _ranked(dataset: Dataset, k: int, operation: str, direction: float) -> Dataset:
    """The k members with the smallest direction * rank; ties by key."""
    refusal = _refusal(dataset, mixed_kinds=True)
    if refusal:
        return Incompatible(Reason.Unsupported) if refusal.reason is Reason.CantSumChart else refusal
    assert isinstance(dataset, SeriesSet | TipSet)
    values = dataset.floats() if isinstance(dataset, SeriesSet) else dataset.floats()[None, :]
    ranks = [_rank(values[:, i], operation) for i in range(len(dataset.members))]
    known = [i for i, rank in enumerate(ranks) if not np.isnan(rank)]
    known.sort(key=lambda i: (direction * ranks[i], dataset.members[i].key))
    return dataset.chosen(known[:k])


def _rank(values: Floats, operation: str) -> float:
    present = values[~np.isnan(values)]
    if not len(present):
        return float("nan")
    if operation == "last":
        return float(present[-1])
    return float(present.mean() if operation == "mean" else present.max())


def downsample(dataset: Dataset, step_ms: int, operation: str) -> Dataset:
    """Windows aligned to multiples of the step, stamped with their end."""
    if not isinstance(dataset, SeriesSet):
        return Incompatible(Reason.Unsupported)
    if not len(dataset.times):
        return dataset
    ends = -(-dataset.times // step_ms) * step_ms
    times, starts = np.unique(ends, return_index=True)
    shape = (len(times), len(dataset.members))
    bits, present = np.zeros(shape, np.uint64), np.zeros(shape, bool)
    members = list(dataset.members)
    for kind in {member.kind for member in members}:
        these = np.flatnonzero(dataset.kinds() == kind)
        reduced = reduce_runs(dataset.bits[:, these], dataset.present[:, these], kind, starts, 0, operation)
        bits[:, these], present[:, these] = reduced.bits, reduced.present
        for i in these.tolist():
            members[i] = Series(members[i].key, reduced.kind, members[i].cumulative and reduced.kind is kind)
    breaks = np.logical_or.reduceat(dataset.breaks, starts, axis=0)
    return SeriesSet(times, tuple(members), bits, present, breaks, dataset.single)


def state_chart(dataset: Dataset, most: int) -> Dataset:
    """How many sources are in which state now."""
    if not isinstance(dataset, TipSet):
        return Incompatible(Reason.Unsupported)
    if any(member.kind is not Kind.STATE for member in dataset.members):
        return Incompatible(Reason.UnexpectedType)
    entered = [state for state in dataset.states if state is not None and state[0] != 0]
    counts = Tally(text for _since, text in entered)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    chart = dict(sorted(ranked[:most]))
    rest = sum(count for _text, count in ranked[most:])
    return Chart({**chart, OTHER: rest} if rest else chart)


def expect(dataset: Dataset, wanted: tuple[str, ...]) -> Dataset:
    """Passes what is of this type, and of this kind in every member."""
    type_name, *kind_names = wanted
    if dataset_name(dataset) != type_name:
        return Incompatible(Reason.UnexpectedType)
    if not kind_names:
        return dataset
    assert isinstance(dataset, SeriesSet | TipSet)
    allowed = EXPECTED_KINDS[kind_names[0]]
    return dataset if all(m.kind in allowed for m in dataset.members) else Incompatible(Reason.UnexpectedType)


EXPECTED_KINDS = {
    "Counter": {Kind.COUNTER},
    "Level": {Kind.INTEGER, Kind.FLOAT},
    "State": {Kind.STATE},
}


def dataset_name(dataset: Dataset) -> str:
    """As in answers."""
    if isinstance(dataset, SeriesSet):
        return "SingleSeries" if dataset.single else "MultiSeries"
    if isinstance(dataset, TipSet):
        return "SingleTip" if dataset.single else "MultiTip"
    return type(dataset).__name__
