"""A query document, checked: rules and what is calculated between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from manor.cantal.query import limits
from manor.cantal.query.combine import Expression, parse_expression
from manor.cantal.query.conditions import All, parse_condition
from manor.cantal.query.errors import BadQuery
from manor.cantal.query.extracts import Extract, Tip, parse_extract
from manor.cantal.query.functions import Function, parse_function
from manor.cantal.store.series import Condition


class Source(Enum):
    FINE = "Fine"  # numbers
    TIP = "Tip"  # States


@dataclass(frozen=True, slots=True)
class Rule:
    """Select, take, then apply the functions one after the other."""

    source: Source
    condition: Condition
    extract: Extract
    functions: tuple[Function, ...]


@dataclass(frozen=True, slots=True)
class Document:
    rules: Mapping[str, Rule]
    combine: Mapping[str, Expression]


def parse_document(value: Any) -> Document:
    """From plain data (decoded JSON). Raises BadQuery (400), QueryTooBig (422)."""
    members = _object(value, "", {"rules"}, {"combine"})
    given = _names(members["rules"], "rules", least=1)
    rules = {name: parse_rule(one, f"rules.{name}") for name, one in given.items()}
    combine = _names(members.get("combine", {}), "combine", least=0)
    for name in combine.keys() & rules.keys():
        raise BadQuery(f"combine.{name}", "is the name of a rule too; results need names of their own")
    return Document(rules, {name: parse_expression(one, f"combine.{name}", rules) for name, one in combine.items()})


def parse_rule(value: Any, path: str) -> Rule:
    members = _object(value, path, {"series"}, {"extract", "functions"})
    series = _object(members["series"], f"{path}.series", {"source"}, {"condition"})
    source = series["source"]
    if source not in {"Fine", "Tip"}:
        raise BadQuery(f"{path}.series.source", 'one of "Fine", "Tip" is expected')
    condition = parse_condition(series["condition"], f"{path}.series.condition") if "condition" in series else All()
    functions = members.get("functions", [])
    if not isinstance(functions, list):
        raise BadQuery(f"{path}.functions", "a list is expected")
    if len(functions) > limits.FUNCTIONS_MAX:
        raise BadQuery(f"{path}.functions", f"at most {limits.FUNCTIONS_MAX} are allowed, {len(functions)} given")
    return Rule(
        Source(source),
        condition,
        parse_extract(members["extract"], f"{path}.extract") if "extract" in members else Tip(),
        tuple(parse_function(one, f"{path}.functions[{i}]") for i, one in enumerate(functions)),
    )


_SHOWN_MAX: Final = 60


def _object(value: Any, path: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadQuery(path, "an object is expected")
    for name in value:
        if name not in required | optional:
            known = ", ".join(sorted(required | optional))
            raise BadQuery(path, f"unknown member `{str(name)[:_SHOWN_MAX]}`; known are {known}")
    for name in sorted(required - value.keys()):
        raise BadQuery(path, f"`{name}` is missing")
    return value


def _names(value: Any, path: str, *, least: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadQuery(path, "an object is expected")
    if not least <= len(value) <= limits.RULES_MAX:
        raise BadQuery(path, f"{least} to {limits.RULES_MAX} are allowed, {len(value)} given")
    for name in value:
        if not 1 <= len(name) <= limits.RULE_NAME_CHARACTERS_MAX:
            raise BadQuery(path, f"names have 1 to {limits.RULE_NAME_CHARACTERS_MAX} characters")
    return value
