"""Ranges of ids and ports (`5`, `100-199`), and the id maps of user namespaces, as the config files write them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from manor.config.units import Check, Parse, Range
from manor.kernel.id_map import IdRange

ID_MAX: Final = 2**32 - 2  # the kernel keeps (uid_t) -1 for "no change"

_SPAN: Final = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")


class Span(msgspec.Struct, frozen=True, order=True):
    """Whole numbers from low to high, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.low <= number <= self.high


def span_up_to(largest: int) -> Parse:
    """The reader of `N` and `A-B`, with a bound."""

    def parse(text: str) -> Span:
        found = _SPAN.fullmatch(text.strip())
        if found is None:
            raise ValueError(f'not a range: "{text[:80]}"; write a number or two such as `1000-1999`')
        low, high = int(found[1]), int(found[2] or found[1])
        if low > high:
            raise ValueError(f"the range `{low}-{high}` runs backwards; write `{high}-{low}`")
        if high > largest:
            raise ValueError(f"{high} is above the maximum {largest}; write a smaller number")
        return Span(low, high)

    return Parse(parse)


Id = Annotated[int, Range(0, ID_MAX)]
IdRanges = tuple[Annotated[Span, span_up_to(ID_MAX)], ...]
PortRanges = tuple[Annotated[Span, span_up_to(65535)], ...]


def contains(spans: Iterable[Span], number: int) -> bool:
    return any(number in span for span in spans)


def shown(spans: Sequence[Span]) -> str:
    return ", ".join(map(str, spans)) or "none"


def _ip_address_problem(text: str) -> str | None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f'not an IP address: "{text[:80]}"; write one such as 10.0.0.5'
    return None


IpAddress = Annotated[str, Check(_ip_address_problem)]


class IdMapEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a uid_map or gid_map."""

    inside: Id
    outside: Id
    count: Annotated[int, Range(1, ID_MAX + 1)]

    def to_range(self) -> IdRange:
        return IdRange(inside=self.inside, outside=self.outside, count=self.count)


def id_map_problems(name: str, entries: Sequence[IdMapEntry]) -> Iterable[tuple[tuple[str | int, ...], str]]:
    """What is wrong with one map: sums too large, ranges that overlap on either side."""
    for index, entry in enumerate(entries):
        for side in ("inside", "outside"):
            start = getattr(entry, side)
            if start + entry.count > ID_MAX + 1:
                yield (name, index), f"`{side}` + `count` is {start + entry.count}; it must stay below {ID_MAX + 1}"
            for earlier in entries[:index]:
                other = getattr(earlier, side)
                if start < other + earlier.count and other < start + entry.count:
                    yield (name, index), f"`{side}` overlaps an earlier range of the map; make the ranges disjoint"


def paired_map_problems(
    uid_map: Sequence[IdMapEntry], gid_map: Sequence[IdMapEntry]
) -> Iterable[tuple[tuple[str | int, ...], str]]:
    yield from id_map_problems("uid_map", uid_map)
    yield from id_map_problems("gid_map", gid_map)
    if bool(uid_map) != bool(gid_map):
        given, missing = ("uid-map", "gid-map") if uid_map else ("gid-map", "uid-map")
        yield (given.replace("-", "_"),), f"`{given}` stands without `{missing}`; give both"
