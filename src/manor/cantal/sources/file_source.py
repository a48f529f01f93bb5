"""A source that is one file of the kernel, read again at every tick.

The text of such a file hardly ever changes its shape: the same names in the same order, other numbers. So a source
says apart what the numbers are (`parse`, every tick) and what they mean (`series`, when the shape has changed).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from manor.cantal.store.frame import Bits, Mask, float_bits
from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Kind, Series

UINT64_MASK = (1 << 64) - 1
TICKS_PER_SECOND = 100  # of all T counters, whatever the kernel's own tick


class Reading(NamedTuple):
    """What a file says. Equal shapes mean: the same series in the same order."""

    shape: Hashable
    bits: Bits
    present: Mask | None = None  # None: all


@dataclass(frozen=True, slots=True)
class Facts:
    """What parsing needs to know of the machine and the options."""

    ticks_per_second: int = field(default_factory=lambda: os.sysconf("SC_CLK_TCK"))
    page_bytes: int = field(default_factory=lambda: os.sysconf("SC_PAGE_SIZE"))
    per_core: bool = False
    is_device_ignored: Callable[[str], bool] = lambda name: name.startswith(("ram", "loop"))
    is_interface_ignored: Callable[[str], bool] = lambda _name: False

    def scaled_ticks(self, ticks: Bits) -> Bits:
        """Kernel ticks as counters of 1/100 s."""
        if self.ticks_per_second == TICKS_PER_SECOND:
            return ticks
        return ticks * np.uint64(TICKS_PER_SECOND) // np.uint64(self.ticks_per_second)


@dataclass(frozen=True, slots=True)
class FileSource:
    """One row of the table. `series` may give None for a number that is not kept."""

    name: str
    path: str  # below the root
    parse: Callable[[bytes, Facts], Reading]
    series: Callable[[Any, Facts], Sequence[Series | None]]
    root: str = "proc"  # or sys


def counter(metric: str, **labels: str) -> Series:
    return Series(key_of(labels, metric=metric), Kind.COUNTER)


def integer(metric: str, **labels: str) -> Series:
    return Series(key_of(labels, metric=metric), Kind.INTEGER)


def floating(metric: str, **labels: str) -> Series:
    return Series(key_of(labels, metric=metric), Kind.FLOAT)


def integers(words: Iterable[bytes]) -> Bits:
    """Decimal numbers as samples; negative ones keep their bits, those past 2^64 wrap as the kernel's own would."""
    words = list(words)
    try:
        return np.fromiter(map(int, words), np.int64, len(words)).view(np.uint64)
    except OverflowError:
        return np.array([int(word) & UINT64_MASK for word in words], np.uint64)


def floats(words: Iterable[bytes]) -> Bits:
    """Decimal fractions as samples."""
    return float_bits(np.array(list(map(float, words)), np.float64))


def text_of(name: bytes) -> str:
    """A name of the kernel's as text; interface names may be any bytes."""
    return name.decode("utf-8", "replace")
