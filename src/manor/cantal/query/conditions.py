"""Conditions: which keys are meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import re2

from manor.cantal.query import limits
from manor.cantal.query.arguments import Check, arguments, form, list_of, text
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.cantal.store.series import Condition

Pairs = dict[str, str]


@dataclass(frozen=True, slots=True)
class All:
    def matches(self, _pairs: Pairs) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Eq:
    name: str
    text: str

    def matches(self, pairs: Pairs) -> bool:
        return pairs.get(self.name) == self.text


@dataclass(frozen=True, slots=True)
class NotEq:
    """The name is there, with another value."""

    name: str
    text: str

    def matches(self, pairs: Pairs) -> bool:
        return pairs.get(self.name, self.text) != self.text


@dataclass(frozen=True, slots=True)
class RegexLike:
    """The pattern is found anywhere in the value; time linear in the value, whatever the pattern."""

    name: str
    pattern: str
    _search: Callable[[str], Any] = field(compare=False, repr=False)

    def matches(self, pairs: Pairs) -> bool:
        value = pairs.get(self.name)
        return value is not None and self._search(value) is not None


@dataclass(frozen=True, slots=True)
class Has:
    name: str

    def matches(self, pairs: Pairs) -> bool:
        return self.name in pairs


@dataclass(frozen=True, slots=True)
class In:
    name: str
    texts: frozenset[str]

    def matches(self, pairs: Pairs) -> bool:
        return pairs.get(self.name) in self.texts


@dataclass(frozen=True, slots=True)
class Prefix:
    name: str
    text: str

    def matches(self, pairs: Pairs) -> bool:
        value = pairs.get(self.name)
        return value is not None and value.startswith(self.text)


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Condition, ...]

    def matches(self, pairs: Pairs) -> bool:
        return all(operand.matches(pairs) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Condition, ...]

    def matches(self, pairs: Pairs) -> bool:
        return any(operand.matches(pairs) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Not:
    operand: Condition

    def matches(self, pairs: Pairs) -> bool:
        return not self.operand.matches(pairs)


def regex_like(name: str, pattern: str) -> RegexLike:
    """Raises ValueError with the reason."""
    options = re2.Options()
    options.max_mem = limits.PATTERN_MEMORY_BYTES
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
    return RegexLike(name, pattern, compiled.search)


def _pattern(value: Any, path: str) -> str:
    if len(text(value, path)) > limits.PATTERN_CHARACTERS_MAX:
        raise QueryTooBig(f"{path}: the pattern has more than {limits.PATTERN_CHARACTERS_MAX} characters")
    return str(value)


_texts: Final = list_of(text, most=limits.CHOICES_MAX)

LEAVES: Final[dict[str, tuple[tuple[Check, ...], Callable[..., Condition]]]] = {
    "All": ((), All),
    "Eq": ((text, text), Eq),
    "NotEq": ((text, text), NotEq),
    "RegexLike": ((text, _pattern), regex_like),
    "Has": ((text,), Has),
    "In": ((text, _texts), lambda name, texts: In(name, frozenset(texts))),
    "Prefix": ((text, text), Prefix),
}
BRANCHES: Final = ("And", "Or", "Not")


def parse_condition(value: Any, path: str, depth: int = 1) -> Condition:
    """Raises BadQuery, QueryTooBig. The empty list matches every key."""
    if value == []:
        return All()
    if depth > limits.NESTING_MAX:
        raise QueryTooBig(f"{path}: conditions are nested deeper than {limits.NESTING_MAX}")
    name, given = form(value, path, (*LEAVES, *BRANCHES), "condition")
    if name in LEAVES:
        checks, make = LEAVES[name]
        checked = arguments(name, given, checks, path)
        try:
            return make(*checked)
        except ValueError as error:
            raise BadQuery(f"{path}[2]", f"bad pattern: {error}; the syntax of RE2 is expected") from error
    most = 1 if name == "Not" else limits.OPERANDS_MAX
    if not 1 <= len(given) <= most:
        raise BadQuery(
            path, f"{name} takes {'1 argument' if most == 1 else f'1 to {most} arguments'}, {len(given)} given"
        )
    operands = tuple(parse_condition(one, f"{path}[{i}]", depth + 1) for i, one in enumerate(given, start=1))
    if name == "Not":
        return Not(operands[0])
    return And(operands) if name == "And" else Or(operands)
