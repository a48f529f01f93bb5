"""Texts that mean numbers: integers with units, durations, file modes; and the checks a struct can put on a field.

    timeout: Duration = 10.0
    port: Annotated[int, Range(1, 65535)] = 80
    name: Annotated[str, Pattern("[a-z]+", "small letters only")]
    ports: tuple[Annotated[PortRange, Parse(parse_port_range)], ...] = ()

Plain functions raise ValueError with "what is wrong; what would be right".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from manor.config.dialect import BareMode, Dialect
from manor.config.errors import shortened

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
TEXT_MAX: Final = 128  # characters of a number; also keeps int() away from its quadratic regions

UNITS: Final = {
    "": 1,
    "k": 10**3,
    "ki": 2**10,
    "M": 10**6,
    "Mi": 2**20,
    "G": 10**9,
    "Gi": 2**30,
    "T": 10**12,
    "Ti": 2**40,
}
_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}
_INTEGER: Final = re.compile(
    r"([+-]?)(?:(0x)([0-9a-fA-F][0-9a-fA-F_]*)|(0o)([0-7][0-7_]*)|(0b)([01][01_]*)|([0-9][0-9_]*))(?<!_)"
    r"[ \t]*(k|ki|M|Mi|G|Gi|T|Ti|)"
)
_FRACTION: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")

_SECONDS: Final = {
    "ms": 0.001,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400.0),
    **dict.fromkeys(("month", "months"), 30.44 * 86400.0),
    **dict.fromkeys(("year", "years"), 365.25 * 86400.0),
}
_SPAN: Final = re.compile(r"[ \t]*([0-9]+(?:\.[0-9]+)?)[ \t]*([A-Za-z]*)[ \t]*")


def parse_int(text: str) -> int:
    """`12_500k`, `0xA ki`, `-5`, `0o755`: 64 bits signed. A bare leading zero means nothing."""
    body = text.strip(" \t\n")
    found = _INTEGER.fullmatch(body) if len(body) <= TEXT_MAX else None
    if found is None:
        raise ValueError(f'not a number: "{shortened(text)}"; {_near_unit(body)}')
    sign, *based, decimal, unit = found.groups()
    base, digits = next(((_BASES[based[i]], based[i + 1]) for i in (0, 2, 4) if based[i]), (10, decimal))
    number = int(digits.replace("_", ""), base) * UNITS[unit]
    number = -number if sign == "-" else number
    if not INT_MIN <= number <= INT_MAX:
        raise ValueError(f'"{shortened(text)}" does not fit 64 bits; write a number from {INT_MIN} to {INT_MAX}')
    return number


def _near_unit(text: str) -> str:
    """What somebody probably meant who wrote `100m`, `1K`, `1GB`, `1.5G`."""
    found = re.fullmatch(r"([0-9]+)[ \t]*([kmgtKMGT])(i?)[bB]?", text)
    if found is not None and len(text) <= TEXT_MAX:
        letter = "k" if found[2] in "kK" else found[2].upper()
        return f"write `{found[1]}{letter}{found[3]}`"
    return "write digits, with one of the units k, ki, M, Mi, G, Gi, T, Ti if need be"


def parse_size(text: str) -> int:
    """A number of bytes: an integer with units that is not negative."""
    size = parse_int(text)
    if size < 0:
        raise ValueError(f'"{shortened(text)}" is negative; a size is 0 or more')
    return size


def parse_float(text: str) -> float:
    """A decimal fraction, or an integer with units; finite."""
    body = text.strip(" \t\n")
    if len(body) <= TEXT_MAX and _FRACTION.fullmatch(body):
        number = float(body)
        if math.isfinite(number):
            return number
    try:
        return float(parse_int(text))
    except ValueError:
        raise ValueError(f'not a number: "{shortened(text)}"; write a decimal number such as `0.5`') from None


def parse_seconds(text: str) -> float:
    """lithos' times: an integer as everywhere, or a decimal fraction; `5s` is refused, showing the `5`."""
    try:
        return parse_float(text)
    except ValueError:
        try:
            meant = parse_duration(text)
        except ValueError:
            raise ValueError(f'not a number: "{shortened(text)}"; write seconds such as `5` or `0.5`') from None
        raise ValueError(f'not a number: "{shortened(text)}"; write seconds without unit: `{meant:.12g}`') from None


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """`10s`, `1h 30min`, `1.5h`, `500ms` -> seconds. A number without unit is refused, or seconds if so told."""
    body = text.strip(" \t\n")
    if bare_seconds and len(body) <= TEXT_MAX and _FRACTION.fullmatch(body):
        number = float(body)
        if number >= 0 and math.isfinite(number):
            return number
    total, at = 0.0, 0
    while at < len(body) <= TEXT_MAX:
        found = _SPAN.match(body, at)
        if found is None:
            break
        if not found[2]:
            raise ValueError(f'"{shortened(text)}" lacks a unit; write `{found[1]}s` for seconds')
        if found[2] not in _SECONDS:
            raise ValueError(f'unknown unit of time "{found[2]}"; known are ms, s, min, h, d, w, month, year')
        total += float(found[1]) * _SECONDS[found[2]]
        at = found.end()
    if not body or at < len(body) or not math.isfinite(total):
        raise ValueError(f'not a length of time: "{shortened(text)}"; write numbers with units such as `1h 30min`')
    return total


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as these seconds, down to milliseconds: `1h 30min`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 0:
        raise ValueError(f"{seconds} is negative; a length of time is 0 or more")
    parts = []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)):
        number, milliseconds = divmod(milliseconds, length)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts) or "0s"


def parse_mode(text: str, bare: BareMode = BareMode.REFUSED) -> int:
    """A file mode. What `755` and `0755` mean is the dialect's affair; `0o755` is clear to everybody."""
    body = text.strip(" \t\n")
    digits = body.isascii() and body.isdigit() and len(body) <= TEXT_MAX
    if digits and bare is BareMode.OCTAL:
        if set(body) <= set("01234567"):
            return int(body, 8)
        raise ValueError(f'not a mode: "{shortened(text)}"; write octal digits such as `0644`')
    if digits and len(body) > 1 and body.startswith("0") and bare is BareMode.REFUSED:
        raise ValueError(f'"{shortened(text)}" would be read as decimal; write `0o{body.lstrip("0") or "0"}`')
    return parse_int(text)


def _octal_looking(text: str, dialect: Dialect) -> str | None:
    body = text.strip()
    if dialect.bare_mode is BareMode.DECIMAL and re.fullmatch("[0-7]{3,4}", body):
        return f'mode "{body}" is decimal; write `0o{body.lstrip("0") or "0"}` if octal is meant'
    return None


# What may stand in `Annotated[...]`


class Parse(msgspec.Struct, frozen=True):
    """The text of a scalar -> the value of the field; a ValueError's text becomes the problem."""

    function: Callable[[str], Any]


class ParseIn(msgspec.Struct, frozen=True):
    """As `Parse`, told the dialect of the file. `warn` gives the text of a warning, or None."""

    function: Callable[[str, Dialect], Any]
    warn: Callable[[str, Dialect], str | None] | None = None


class Check(msgspec.Struct, frozen=True):
    """A rule on a value that already has its type: what is wrong and what would be right, or None."""

    function: Callable[[Any], str | None]


class Range(msgspec.Struct, frozen=True):
    """Both bounds included; None is open."""

    low: float | None = None
    high: float | None = None

    def function(self, value: float) -> str | None:
        if self.high is not None and value > self.high:
            return f"{value:.15g} is above the maximum {self.high:.15g}"
        if self.low is not None and value < self.low:
            return f"{value:.15g} is below the minimum {self.low:.15g}"
        return None


class Length(msgspec.Struct, frozen=True):
    """How many items a list or mapping, or characters a text may have; both bounds included."""

    low: int = 0
    high: int | None = None

    def function(self, value: Any) -> str | None:
        if len(value) < self.low:
            return f"has {len(value)} entries, too few; give at least {self.low}"
        if self.high is not None and len(value) > self.high:
            return f"has {len(value)} entries, too many; give at most {self.high}"
        return None


class Pattern(msgspec.Struct, frozen=True):
    """The whole text must match; `right` says in words what would."""

    regex: str
    right: str

    def function(self, value: str) -> str | None:
        if re.fullmatch(self.regex, value):
            return None
        return f'not allowed: "{shortened(value)}"; {self.right}'


class UnsupportedTags(msgspec.Struct, frozen=True):
    """Tags of the format that this version cannot do: their error says so, instead of calling them unknown."""

    tags: tuple[str, ...]


def _absolute(value: str) -> str | None:
    if not value.startswith("/"):
        return f'the path "{shortened(value)}" is relative; write it from the root, beginning with `/`'
    if "\0" in value:
        return "the path holds a NUL character; take it out"
    return None


Seconds = Annotated[float, Parse(parse_seconds)]
Duration = Annotated[float, ParseIn(lambda text, dialect: parse_duration(text, bare_seconds=dialect.bare_seconds))]
Size = Annotated[int, Parse(parse_size)]
Mode = Annotated[int, ParseIn(lambda text, dialect: parse_mode(text, dialect.bare_mode), _octal_looking)]
AbsolutePath = Annotated[str, Check(_absolute)]
