"""What the asker wants of every member: subscriptions made from the rules of query documents, and their lifetimes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from manor.cantal.query.document import Document, Rule
from manor.cantal.query.extracts import (
    DiffToAtMost,
    Extract,
    HistoryByNum,
    HistoryByTime,
    HistoryRange,
    HistorySince,
    Tip,
)
from manor.cantal.remote.limits import BACKFILL_TICKS


@dataclass(slots=True)
class Wish:
    """One subscription, the same at every member. Equal (source, condition) are one; the longest back-fill wins."""

    number: int
    source: str
    condition: Any  # as it stands in the document
    ticks: int
    asked_at: float


class Wishes:
    """All that is wanted now. Times are seconds on the caller's clock."""

    def __init__(self, lifetime_s: float, *, interval_ms: int, ticks_max: int) -> None:
        self._lifetime_s = lifetime_s
        self._interval_ms = interval_ms
        self._ticks_max = ticks_max
        self._numbers = itertools.count(1)
        self._wishes: dict[tuple[str, str], Wish] = {}

    def __iter__(self) -> Any:
        return iter(self._wishes.values())

    def __len__(self) -> int:
        return len(self._wishes)

    def ask(self, plain: Mapping[str, Any], document: Document, *, now: float, wall_ms: int) -> dict[str, Wish]:
        """The wish behind each rule of a document, which was checked before; its life begins anew."""
        return {
            name: self._ask(plain["rules"][name]["series"], rule, now, wall_ms) for name, rule in document.rules.items()
        }

    def _ask(self, series: Mapping[str, Any], rule: Rule, now: float, wall_ms: int) -> Wish:
        condition = series.get("condition", [])
        key = (rule.source.value, json.dumps(condition, separators=(",", ":")))
        ticks = min(max(needed_ticks(rule.extract, self._interval_ms, wall_ms), BACKFILL_TICKS), self._ticks_max)
        wish = self._wishes.get(key)
        if wish is None or wish.ticks < ticks:
            wish = self._wishes[key] = Wish(next(self._numbers), rule.source.value, condition, ticks, now)
        wish.asked_at = now
        return wish

    def expire(self, now: float) -> None:
        """Let go what nobody asked for during a lifetime."""
        self._wishes = {key: wish for key, wish in self._wishes.items() if now - wish.asked_at <= self._lifetime_s}


def needed_ticks(extract: Extract, interval_ms: int, wall_ms: int) -> int:
    """How many of the newest ticks a rule looks at. A Tip from further back than the default is not seen."""
    by_kind: dict[type, Callable[[Any], int]] = {
        HistoryByNum: lambda e: e.ticks,
        DiffToAtMost: lambda e: e.ticks + 1,
        HistoryByTime: lambda e: e.ms // interval_ms + 2,
        HistoryRange: lambda e: max(0, wall_ms - e.from_ms) // interval_ms + 2,
        HistorySince: lambda e: max(0, wall_ms - e.ms) // interval_ms + 2,
        Tip: lambda e: (e.within_ms or 0) // interval_ms + 2,
    }
    return by_kind[type(extract)](extract)
