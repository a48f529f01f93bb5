"""/proc/meminfo: what the memory is used for. Source: proc_meminfo(5)."""

from __future__ import annotations

import re

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, integer, integers, text_of
from manor.cantal.store.series import Series

_LINE = re.compile(rb"^(\S+):\s+(\d+)( kB)?$", re.MULTILINE)  # a line with another unit is not one of these

_Shape = tuple[tuple[bytes, ...], tuple[bytes, ...]]


def parse(text: bytes, _facts: Facts) -> Reading:
    """kB means 1024 bytes; lines without a unit are counts."""
    names, numbers, units = zip(*_LINE.findall(text), strict=True)
    factor = np.where(np.fromiter(map(len, units), np.uint64, len(units)) > 0, np.uint64(1024), np.uint64(1))
    return Reading(names, integers(numbers) * factor)


def series(names: tuple[bytes, ...], _facts: Facts) -> list[Series]:
    return [integer(f"memory.{text_of(name)}") for name in names]


SOURCE = FileSource("memory", "meminfo", parse, series)
