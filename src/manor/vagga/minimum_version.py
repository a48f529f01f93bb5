"""Comparing versions as `minimum-vagga` means it."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Final

FORMAT_VERSION: Final = "0.9.0"  # of vagga.yaml; every configuration written for 0.8.2 and before is still right
_PARTS: Final = re.compile(r"[0-9]+|[A-Za-z][A-Za-z0-9]*")
_BEFORE_RELEASE: Final = frozenset({"a", "b", "c", "rc", "pre", "dev", "dirty"})


def is_at_least(version: str, wanted: str) -> bool:
    """`0.4.1` is at least `v0.4.1-rc1`."""
    return all(_compare(a, b) >= 0 for a, b in _first_difference(version, wanted))


def _first_difference(version: str, wanted: str) -> list[tuple[str | None, str | None]]:
    ours, theirs = (_PARTS.findall(text.strip().removeprefix("v")) for text in (version, wanted))
    for a, b in zip_longest(ours, theirs):
        if _rank(a) != _rank(b):
            return [(a, b)]
    return []


def _compare(a: str | None, b: str | None) -> int:
    return (_rank(a) > _rank(b)) - (_rank(a) < _rank(b))


def _rank(part: str | None) -> tuple[int, int, str]:
    """Words before a release < nothing < other words < numbers."""
    if part is None:
        return 1, 0, ""
    if part[0].isdigit():
        return 3, int(part), ""
    letters = part.rstrip("0123456789")
    early = letters in _BEFORE_RELEASE or part.startswith("g")
    return (0 if early else 2), 0, part
