"""How a benchmark measures, and how it says what it measured."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Size(Enum):
    SMALL = "small"  # with the tests: proves that the benchmark works, its figures mean nothing
    FULL = "full"


class PeerMissing(Exception):
    """podman is not installed; `apt-get install podman`"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result. Without a peer the figure stands alone, and says what it is made of."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    peers: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        line = f"{self.what:<58} {self.ours:>10.3f} {self.unit:<10}"
        if self.peer:
            line += f" {self.ours / self.peers:>7.2f} x {self.peer} ({self.peers:.3f} {self.unit})"
        return line + (f"  {self.note}" if self.note else "")


def in_turn(runs: int, *works: Callable[[], float]) -> list[float]:
    """The median of each work over `runs` rounds, taken A B C, A B C, so that a drifting machine is fair to all.

    Each work returns what it measured, in its own unit. One round before is not counted.
    """
    seen: list[list[float]] = [[] for _ in works]
    for number in range(runs + 1):
        for work, figures in zip(works, seen, strict=True):
            figure = work()
            if number:
                figures.append(figure)
    return [statistics.median(figures) for figures in seen]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def find_peer(program: str, package: str, size: Size) -> str | None:
    """The path of a peer's program; None where small input does without. Raises PeerMissing."""
    found = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None and size is Size.FULL:
        raise PeerMissing(f"{program} is not installed; `apt-get install {package}`")
    return found
