"""Arithmetic between the results of rules: `["Div", "time", "count"]`.

Members are paired by key without the pair `metric`, series by timestamp; what has no partner is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from manor.cantal.query import limits
from manor.cantal.query.arguments import form, number
from manor.cantal.query.datasets import Chart, Dataset, Empty, Incompatible, Reason, SeriesSet, TipSet
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.cantal.store.frame import Floats, Times, float_bits
from manor.cantal.store.keys import Key
from manor.cantal.store.series import Kind, Series

OPERATIONS: Final = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@dataclass(frozen=True, slots=True)
class Binary:
    operation: str
    left: Expression
    right: Expression


Expression: TypeAlias = Binary | str | float  # a str names a rule


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Series or tips as floats: (ticks, members), NaN where absent. Tips have the one row and their own slices."""

    keys: list[Key]
    values: Floats
    times: Times | None  # of series
    newest: Times | None  # of tips, by member
    oldest: Times | None
    single: bool


def parse_expression(value: Any, path: str, rules: Mapping[str, object], depth: int = 1) -> Expression:
    if isinstance(value, str):
        if value not in rules:
            raise BadQuery(path, f"there is no rule `{value}`; the names are those of `rules`")
        return value
    if isinstance(value, list):
        if depth > limits.NESTING_MAX:
            raise QueryTooBig(f"{path}: expressions are nested deeper than {limits.NESTING_MAX}")
        name, given = form(value, path, OPERATIONS, "operation")
        if len(given) != 2:
            raise BadQuery(path, f"{name} takes 2 arguments, {len(given)} given")
        left, right = (parse_expression(one, f"{path}[{i}]", rules, depth + 1) for i, one in enumerate(given, start=1))
        return Binary(name, left, right)
    return number(value, path)


def combine(expression: Expression, results: Mapping[str, Dataset]) -> Dataset:
    found = _evaluate(expression, results)
    return _dataset(found) if isinstance(found, _Numbers) else found if not isinstance(found, float) else Empty()


def _evaluate(expression: Expression, results: Mapping[str, Dataset]) -> _Numbers | float | Empty | Incompatible:
    if isinstance(expression, float):
        return expression
    if isinstance(expression, str):
        return _numbers(results[expression])
    left, right = _evaluate(expression.left, results), _evaluate(expression.right, results)
    for side in (left, right):
        if isinstance(side, Empty | Incompatible):
            return side
    assert not isinstance(left, Empty | Incompatible) and not isinstance(right, Empty | Incompatible)
    operation = OPERATIONS[expression.operation]
    with np.errstate(all="ignore"):
        if isinstance(left, float) and isinstance(right, float):
            return float(operation(left, right))
        if isinstance(right, float):
            assert isinstance(left, _Numbers)
            return _with_values(left, operation(left.values, right))
        if isinstance(left, float):
            return _with_values(right, operation(left, right.values))
        if (left.times is None) != (right.times is None):
            return Incompatible(Reason.Dissimilar)
        left, right = _paired(left, right)
        return _with_values(left, operation(left.values, right.values))


def _numbers(dataset: Dataset) -> _Numbers | Empty | Incompatible:
    if isinstance(dataset, Empty | Incompatible):
        return dataset
    if isinstance(dataset, Chart):
        return Incompatible(Reason.Unsupported)
    keys = [tuple(pair for pair in member.key if pair[0] != "metric") for member in dataset.members]
    if isinstance(dataset, SeriesSet):
        return _Numbers(keys, dataset.floats(), dataset.times, None, None, dataset.single)
    if dataset.states:
        return Incompatible(Reason.CantSumStates)
    return _Numbers(keys, dataset.floats()[None, :], None, dataset.newest, dataset.oldest, dataset.single)


def _paired(left: _Numbers, right: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Both with the same members and ticks in the same order."""
    places = {key: i for i, key in reversed(list(enumerate(right.keys)))}
    pairs = [(i, places[key]) for i, key in enumerate(left.keys) if key in places]
    columns = np.array(pairs, np.intp).reshape(-1, 2).T
    times = left.times
    left_rows = right_rows = np.zeros(1, np.intp)
    if left.times is not None and right.times is not None:
        times, left_rows, right_rows = np.intersect1d(left.times, right.times, assume_unique=True, return_indices=True)
    newest = oldest = None
    if left.newest is not None and right.newest is not None and left.oldest is not None and right.oldest is not None:
        newest = np.maximum(left.newest[columns[0]], right.newest[columns[1]])
        oldest = np.minimum(left.oldest[columns[0]], right.oldest[columns[1]])
    keys = [left.keys[i] for i, _ in pairs]
    single = left.single and right.single
    return (
        _Numbers(keys, left.values[left_rows][:, columns[0]], times, newest, oldest, single),
        _Numbers(keys, right.values[right_rows][:, columns[1]], times, newest, oldest, single),
    )


def _with_values(of: _Numbers, values: Floats) -> _Numbers:
    """Division by zero is null, and so is what comes of infinities."""
    return _Numbers(of.keys, np.where(np.isfinite(values), values, np.nan), of.times, of.newest, of.oldest, of.single)


def _dataset(numbers: _Numbers) -> Dataset:
    members = tuple(Series(key, Kind.FLOAT) for key in numbers.keys)
    present = ~np.isnan(numbers.values)
    bits = float_bits(np.where(present, numbers.values, 0.0))
    if numbers.times is not None:
        return SeriesSet(numbers.times, members, bits, present, np.zeros_like(present), numbers.single)
    assert numbers.newest is not None and numbers.oldest is not None
    made = TipSet(members, bits[0], numbers.newest, numbers.oldest, single=numbers.single)
    return made.chosen(np.flatnonzero(present[0]))
