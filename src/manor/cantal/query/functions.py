"""All functions: name, arguments, what they do. One more is one more row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from manor.cantal.query import grouping, limits, rates
from manor.cantal.query.arguments import (
    Check,
    arguments,
    boolean,
    count,
    form,
    list_of,
    milliseconds,
    number,
    one_of,
    positive_milliseconds,
    share,
    text,
)
from manor.cantal.query.datasets import Dataset, Empty, Incompatible
from manor.cantal.query.errors import BadQuery

NAMES_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Function:
    """One step of a rule. Equal steps are equal."""

    name: str
    arguments: tuple[Any, ...]

    def apply(self, dataset: Dataset) -> Dataset:
        """Nothing and what went wrong before pass unchanged."""
        if isinstance(dataset, Empty | Incompatible):
            return dataset
        return FUNCTIONS[self.name][1](dataset, *self.arguments)


def _expected(value: Any, path: str) -> tuple[str, ...]:
    """`["Chart"]`, or a type and a kind."""
    if value == ["Chart"]:
        return ("Chart",)
    types = ("SingleSeries", "MultiSeries", "SingleTip", "MultiTip")
    if not isinstance(value, list) or len(value) != 2:
        raise BadQuery(path, 'a list such as ["MultiSeries", "Counter"] or ["Chart"] is expected')
    return one_of(*types)(value[0], f"{path}[0]"), one_of(*grouping.EXPECTED_KINDS)(value[1], f"{path}[1]")


_ignore: Final = one_of("Ignore")
_names: Final = list_of(text, most=NAMES_MAX)
_rank: Final = one_of("last", "mean", "max")

FUNCTIONS: Final[dict[str, tuple[tuple[Check, ...], Callable[..., Dataset]]]] = {
    "Expect": ((_expected,), grouping.expect),
    "NonNegativeDerivative": ((), rates.non_negative_derivative),
    "Derivative": ((), rates.derivative),
    "Rate": ((milliseconds,), rates.rate),
    "Delta": ((), rates.delta),
    "Sum": ((_ignore,), grouping.sum_all),
    "SumBy": ((text, _ignore, boolean), grouping.sum_by),
    "Aggregate": (
        (one_of("sum", "mean", "min", "max", "count", "first", "last"), _names),
        grouping.aggregate,
    ),
    "Quantiles": ((list_of(share, least=1, most=limits.QUANTILES_MAX), _names), grouping.quantiles),
    "Downsample": (
        (positive_milliseconds, one_of("mean", "min", "max", "last", "sum", "count")),
        grouping.downsample,
    ),
    "TopK": ((count, _rank), grouping.top_k),
    "BottomK": ((count, _rank), grouping.bottom_k),
    "Scale": ((number,), rates.scale),
    "StateChart": ((count,), grouping.state_chart),
    "FillGaps": ((milliseconds,), rates.fill_gaps),
}


def parse_function(value: Any, path: str) -> Function:
    name, given = form(value, path, FUNCTIONS, "function")
    checks, _apply = FUNCTIONS[name]
    return Function(name, tuple(arguments(name, given, checks, path)))
