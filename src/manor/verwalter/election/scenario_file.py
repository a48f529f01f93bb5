"""A scenario file for `simulate election`: a YAML list of events, each with `at` and one thing that happens.

- {at: 30s, split: [[n1, n2], [n3]]}
- {at: 60s, heal: true}
- {at: 70s, cut: [n1, n2, oneway]}
- {at: 80s, loss: 0.1}
- {at: 80s, delay: 1ms..50ms}
- {at: 90s, crash: [n1]}
- {at: 95s, restart: [n1]}
- {at: 100s, clock: {n1: +1h}}
- {at: 110s, stall: {n1: 5s}}
- {at: 120s, stale: {n1: 20s}}
- {at: 150s, flap: {n1: 20s}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.loader import load_file
from manor.config.units import Check, Duration, Length, Parse, Pattern, Range, parse_duration
from manor.verwalter.election.scenario import (
    ClockJump,
    Crash,
    Cut,
    Delay,
    Event,
    Flap,
    Heal,
    Loss,
    Restart,
    Scenario,
    Split,
    Stale,
    Stall,
)
from manor.verwalter.membership import Rights

NodeName = Annotated[str, Pattern(r"n[1-9][0-9]{0,3}", "`n1`, `n2` and so on are the nodes")]
ONE_WAY: Final = "oneway"


def _parse_jump(text: str) -> float:
    """`+1h`, `-30s` -> seconds."""
    if text[:1] not in "+-" or not text[1:]:
        raise ValueError(f"`{text}` is no jump of a clock; `+1h` or `-30s` would be right")
    return (-1 if text[0] == "-" else 1) * parse_duration(text[1:])


def _parse_range(text: str) -> tuple[float, float]:
    """`1ms..50ms` -> seconds."""
    low, dots, high = text.partition("..")
    if not dots:
        raise ValueError(f"`{text}` is no range; `1ms..50ms` would be right")
    return parse_duration(low), parse_duration(high)


def _is_cut(names: tuple[str, ...]) -> str | None:
    right = len(names) == 2 or (len(names) == 3 and names[2] == ONE_WAY)
    return None if right else "two nodes, and perhaps `oneway`, would be right"


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file."""

    at: Duration
    split: tuple[tuple[NodeName, ...], ...] | None = None
    heal: bool = False
    cut: Annotated[tuple[str, ...], Check(_is_cut)] | None = None
    loss: Annotated[float, Range(0, 1)] | None = None
    delay: Annotated[tuple[float, float], Parse(_parse_range)] | None = None
    crash: tuple[NodeName, ...] | None = None
    restart: tuple[NodeName, ...] | None = None
    clock: Annotated[dict[NodeName, Annotated[float, Parse(_parse_jump)]], Length(1)] | None = None
    stall: Annotated[dict[NodeName, Duration], Length(1)] | None = None
    stale: Annotated[dict[NodeName, Duration], Length(1)] | None = None
    flap: Annotated[dict[NodeName, Duration], Length(1)] | None = None

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if len(list(self.events())) == 0:
            yield (), "nothing happens here; `split`, `heal`, `crash` or another event would be right"

    def events(self) -> Iterator[Event]:
        at = self.at
        if self.split is not None:
            yield Split(at_s=at, sides=self.split)
        if self.heal:
            yield Heal(at_s=at)
        if self.cut is not None:
            yield Cut(at_s=at, source=self.cut[0], target=self.cut[1], one_way=ONE_WAY in self.cut)
        if self.loss is not None:
            yield Loss(at_s=at, share=self.loss)
        if self.delay is not None:
            yield Delay(at_s=at, range_s=self.delay)
        if self.crash is not None:
            yield Crash(at_s=at, nodes=self.crash)
        if self.restart is not None:
            yield Restart(at_s=at, nodes=self.restart)
        for node, by_s in (self.clock or {}).items():
            yield ClockJump(at_s=at, node=node, by_s=by_s)
        for node, for_s in (self.stall or {}).items():
            yield Stall(at_s=at, node=node, for_s=for_s)
        for node, for_s in (self.stale or {}).items():
            yield Stale(at_s=at, node=node, for_s=for_s)
        for node, every_s in (self.flap or {}).items():
            yield Flap(at_s=at, node=node, every_s=every_s)


def read_scenario(path: Path, rights: Rights | None = None) -> Scenario:
    """Raises ConfigError with the place of every problem."""
    entries = load_file(path, tuple[Entry, ...], VERWALTER).value
    events = tuple(event for entry in entries for event in entry.events())
    return Scenario(events=events, rights=rights or Rights())
