"""/proc/diskstats: what went to and from block devices. Source: Documentation/admin-guide/iostats.rst.

Older kernels give 11 numbers a device, since 4.18 15 (discards), since 5.5 17 (flushes).
"""

from __future__ import annotations

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, integer, integers, text_of
from manor.cantal.store.series import Series

COLUMNS = (
    "read.ops",
    "read.merges",
    "read.bytes",
    "read.time",
    "write.ops",
    "write.merges",
    "write.bytes",
    "write.time",
    "in_progress",
    "time",
    "weighted_time",
    "discard.ops",
    "discard.merges",
    "discard.bytes",
    "discard.time",
    "flush.ops",
    "flush.time",
)
SECTOR_BYTES = 512  # whatever the device's own sectors are
FACTORS = np.array([SECTOR_BYTES if name.endswith(".bytes") else 1 for name in COLUMNS], np.uint64)

_Shape = tuple[tuple[bytes, ...], int]


def parse(text: bytes, _facts: Facts) -> Reading:
    """Shape: the devices, how many numbers each has."""
    rows = [line.split() for line in text.rstrip(b"\n").split(b"\n")]
    columns = min(len(COLUMNS), min(map(len, rows)) - 3)
    numbers = integers(word for row in rows for word in row[3 : 3 + columns]).reshape(len(rows), columns)
    shape: _Shape = (tuple(row[2] for row in rows), columns)
    return Reading(shape, (numbers * FACTORS[:columns]).ravel())


def series(shape: _Shape, facts: Facts) -> list[Series | None]:
    devices, columns = shape
    return [_one(text_of(device), column, facts) for device in devices for column in COLUMNS[:columns]]


def _one(device: str, column: str, facts: Facts) -> Series | None:
    if facts.is_device_ignored(device):
        return None
    kind = integer if column == "in_progress" else counter
    return kind(f"disk.{column}", device=device)


SOURCE = FileSource("disks", "diskstats", parse, series)
