"""Where each value lies in the file, and the text that says so. Pure, and the same byte for byte in all clients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """One value to be laid out."""

    type: str  # `counter`, `level`, `state`
    parameter: str  # `signed`, `float` or nothing
    size: int  # bytes
    name: str  # JSON of its pairs


class Layout(NamedTuple):
    """Offsets are in the order of the entries as given."""

    offsets: list[int]
    size: int
    text: str


def name_of(pairs: Mapping[str, str]) -> str:
    return json.dumps(pairs, sort_keys=True)


def lay_out(entries: Iterable[Entry]) -> Layout:
    """Sorted by size, then by name; the first of a size is aligned, so that no value crosses a line of the cache."""
    entries = list(entries)
    offsets = [0] * len(entries)
    lines = []
    offset = previous_size = 0
    for i in sorted(range(len(entries)), key=lambda i: (entries[i].size, entries[i].name)):
        entry = entries[i]
        if entry.size != previous_size:
            pad = -offset % _alignment(entry.size)
            if pad:
                lines.append(f"pad {pad}")
            offset += pad
            previous_size = entry.size
        offsets[i] = offset
        offset += entry.size
        words = f"{entry.type} {entry.size} {entry.parameter}".rstrip()
        lines.append(f"{words}: {entry.name}")
    return Layout(offsets, offset, "\n".join(lines))


def _alignment(size: int) -> int:
    if size & (size - 1) == 0:
        return size
    return 8 if size % 8 == 0 else 1
