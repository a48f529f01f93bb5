"""Readings that are not taken at every tick: file systems (which may hang) and temperatures.

Both are taken in a thread of their own, so that a dead disk costs the scanner nothing: what it does not answer within
two seconds is absent until it does. Between two readings the last values are repeated.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import re2

from manor.cantal.options import CollectorOptions
from manor.cantal.sources import filesystems
from manor.cantal.sources.feed import NO_BITS, NO_SAMPLES, Samples, together
from manor.cantal.sources.file_source import floating
from manor.cantal.store.frame import Bits, float_bits
from manor.cantal.store.series import Columns, Series, SeriesTable
from manor.kernel.mounts import parse_mount

FILESYSTEMS_EVERY: Final = 10  # ticks
TEMPERATURES_EVERY: Final = 5
HANGING_AFTER_S: Final = 2.0


class Repeated:
    """Values of the last reading; the columns stay while the names do."""

    def __init__(self) -> None:
        self._last: tuple[Columns, Bits] = Columns(()), NO_BITS  # exchanged as one: another thread puts

    def put(self, names: list[Series], bits: Bits) -> None:
        columns, _ = self._last
        self._last = columns if columns.series == tuple(names) else Columns(names), bits

    def samples(self, table: SeriesTable) -> Samples:
        columns, bits = self._last
        return Samples(columns.ids(table), bits)


class SlowReadings:
    """Owns the thread; it lives only as long as a reading takes."""

    def __init__(self, options: CollectorOptions) -> None:
        self._proc_root = options.proc_root
        self._sys_root = options.sys_root
        patterns = [re2.compile(pattern) for pattern in options.scan.mounts_ignore]
        self._is_ignored = lambda mount: any(pattern.search(mount) for pattern in patterns)
        self._filesystems = Repeated()
        self._temperatures = Repeated()
        self._reader: threading.Thread | None = None
        self._began = 0.0

    def scan(self, number: int, table: SeriesTable) -> Samples:
        """`number` counts the passes from 1."""
        due = [
            read
            for read, every in ((self._read_filesystems, FILESYSTEMS_EVERY), (self._read_zones, TEMPERATURES_EVERY))
            if number % every == 1
        ]
        reading = self._reader is not None and self._reader.is_alive()
        if due and not reading:
            self._began = time.monotonic()
            self._reader = threading.Thread(target=lambda: [read() for read in due], name="slow-readings", daemon=True)
            self._reader.start()
        if reading and time.monotonic() - self._began > HANGING_AFTER_S:
            return NO_SAMPLES
        return together([self._filesystems.samples(table), self._temperatures.samples(table)])

    def _read_filesystems(self) -> None:
        try:
            text = (self._proc_root / "self" / "mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            return
        names: list[Series] = []
        found: list[int] = []
        for one in filesystems.real_ones(map(parse_mount, text.splitlines()), self._is_ignored):
            try:
                facts = os.statvfs(one.mount)
            except OSError:  # unmounted meanwhile, or not ours to see
                continue
            names += filesystems.series(one)
            found += filesystems.numbers(facts)
        self._filesystems.put(names, np.array(found, np.uint64))

    def _read_zones(self) -> None:
        names: list[Series] = []
        degrees: list[float] = []
        for zone in sorted(Path(self._sys_root, "class", "thermal").glob("thermal_zone*")):
            try:
                degrees.append(int((zone / "temp").read_text()) / 1000)
            except (OSError, ValueError):  # a sensor that is switched off
                continue
            names.append(floating("temperature", zone=zone.name.removeprefix("thermal_zone")))
        self._temperatures.put(names, float_bits(np.array(degrees, np.float64)))
