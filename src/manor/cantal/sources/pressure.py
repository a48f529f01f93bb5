"""/proc/pressure/RESOURCE and RESOURCE.pressure of a group: time tasks waited for the resource.

Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full ...`. Source: Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, floating
from manor.cantal.store.frame import float_bits
from manor.cantal.store.series import Series

RESOURCES = ("cpu", "memory", "io", "irq")
AVERAGES = ("avg10", "avg60", "avg300")

_LINE = re.compile(rb"^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$", re.MULTILINE)


def parse(text: bytes, _facts: Facts) -> Reading:
    """Shape: which of some and full there are."""
    shares, *columns, totals = zip(*_LINE.findall(text), strict=True)
    averages = np.array(columns, np.float64).T
    total = np.array(totals, np.uint64)[:, None]
    return Reading(shares, np.concatenate([float_bits(averages), total], axis=1).ravel())


def series_of(resource: str, prefix: str = "", **labels: str) -> Callable[[tuple[bytes, ...], Facts], list[Series]]:
    """What the numbers of one resource mean; groups put `cgroup.` before the names."""

    def series(shares: tuple[bytes, ...], _facts: Facts) -> list[Series]:
        found = []
        for share in shares:
            name = f"{prefix}pressure.{resource}.{share.decode()}"
            found += [floating(f"{name}.{average}", **labels) for average in AVERAGES]
            found.append(counter(f"{name}.total", **labels))
        return found

    return series


SOURCES = tuple(FileSource(f"pressure.{r}", f"pressure/{r}", parse, series_of(r)) for r in RESOURCES)
