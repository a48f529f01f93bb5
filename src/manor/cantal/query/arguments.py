"""Arrays whose first element names their form: `["SumBy", "metric", "Ignore", true]`. The words to check them with.

A form is declared as the kinds of its arguments; whatever does not fit is a BadQuery that names the JSON path.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn

from manor.cantal.query.errors import BadQuery

MS_MAX: Final = 1 << 53  # what JSON carries exactly
COUNT_MAX: Final = 1 << 31

Check = Callable[[Any, str], Any]


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        _wrong(path, "a text", value)
    return value


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        _wrong(path, "true or false", value)
    return value


def count(value: Any, path: str) -> int:
    """1 and more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_MAX:
        _wrong(path, "a whole number of at least 1", value)
    return int(value)


def milliseconds(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MS_MAX:
        _wrong(path, "a whole number of milliseconds", value)
    return int(value)


def positive_milliseconds(value: Any, path: str) -> int:
    if milliseconds(value, path) == 0:
        _wrong(path, "a whole number of milliseconds above 0", value)
    return int(value)


def number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _wrong(path, "a number", value)
    return float(value)


def share(value: Any, path: str) -> float:
    if not 0 <= number(value, path) <= 1:
        _wrong(path, "a number from 0 to 1", value)
    return float(value)


def one_of(*words: str) -> Check:
    def check(value: Any, path: str) -> str:
        if value not in words:
            _wrong(path, "one of " + ", ".join(f'"{word}"' for word in words), value)
        return str(value)

    return check


def list_of(item: Check, *, least: int = 0, most: int) -> Check:
    def check(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            _wrong(path, "a list", value)
        if not least <= len(value) <= most:
            raise BadQuery(path, f"a list of {least} to {most} is expected, {len(value)} given")
        return tuple(item(one, f"{path}[{i}]") for i, one in enumerate(value))

    return check


def form(value: Any, path: str, known: Collection[str], what: str) -> tuple[str, list[Any]]:
    """Name and arguments of a form."""
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise BadQuery(path, f"a list is expected that begins with the name of the {what}")
    name = value[0]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean `{near[0]}`?" if near else "known are " + ", ".join(sorted(known))
        raise BadQuery(path, f"unknown {what} `{name}`; {advice}")
    return name, value[1:]


def arguments(name: str, given: list[Any], checks: tuple[Check, ...], path: str) -> list[Any]:
    if len(given) != len(checks):
        noun = "argument" if len(checks) == 1 else "arguments"
        raise BadQuery(path, f"{name} takes {len(checks) or 'no'} {noun}, {len(given)} given")
    return [check(one, f"{path}[{i}]") for i, (check, one) in enumerate(zip(checks, given, strict=True), start=1)]


def _wrong(path: str, expected: str, value: Any) -> NoReturn:
    shown = {dict: "an object", list: "a list", type(None): "null"}.get(type(value)) or repr(value)[:60]
    raise BadQuery(path, f"{expected} is expected, {shown} given")
