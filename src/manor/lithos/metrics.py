"""The master's numbers for cantal, in its memory-mapped form: `.meta` says what each eight bytes of `.values` are.

Not made with `cantal.client`, because these files outlive their master: counters go on over restarts and crashes, and
files whose set of lines stays the same are mapped again, not replaced.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

VALUE_BYTES: Final = 8
PAGE_BYTES: Final = 4096
META_BYTES_MAX: Final = 16 * 2**20

_LINE: Final = re.compile(r"(counter 8|level 8 signed): (\{.*\})")


class Number(NamedTuple):
    """One line of `.meta`."""

    is_counter: bool
    group: str
    metric: str

    @property
    def line(self) -> str:
        kind = "counter 8" if self.is_counter else "level 8 signed"
        pairs = {"group": self.group, "metric": self.metric}
        return f"{kind}: {json.dumps(pairs, sort_keys=True, separators=(',', ':'))}"


MASTER_NUMBERS: Final = (
    Number(True, "master", "restarts"),
    Number(False, "master", "sandboxes"),
    Number(False, "master", "containers"),
    Number(False, "master", "queue"),
    Number(True, "containers", "started"),
    Number(True, "containers", "deaths"),
    Number(True, "containers", "failures"),
    Number(False, "containers", "running"),
    Number(False, "containers", "unknown"),
)
CONTAINER_COUNTERS: Final = ("started", "deaths", "failures")
ENTRY_COUNTERS: Final = (*CONTAINER_COUNTERS, "unhealthy")
ENTRY_LEVELS: Final = ("running", "ready")
LEVELS_OF_CONTAINERS: Final = ("running", "unknown")


def numbers(entries: Iterable[str]) -> tuple[Number, ...]:
    """All lines of one master; entries as SANDBOX/PROCESS."""
    per_entry = (
        Number(metric in ENTRY_COUNTERS, group_of(entry), metric)
        for entry in sorted(entries)
        for metric in (*ENTRY_COUNTERS, *ENTRY_LEVELS)
    )
    return (*MASTER_NUMBERS, *per_entry)


def group_of(entry: str) -> str:
    return f"processes.{entry.replace('/', '.', 1)}"


class Metrics:
    """The published numbers. Counting what has no line (an entry that is no longer configured) does nothing."""

    def __init__(self, path: Path, entries: Iterable[str]) -> None:
        """Raises OSError."""
        self._meta, self._values = Path(f"{path}.meta"), Path(f"{path}.values")
        wanted = numbers(entries)
        self._offsets = {number: index * VALUE_BYTES for index, number in enumerate(wanted)}
        self._map = self._mapped_again(wanted) or self._made(wanted)

    def count(self, entry: str, counter: str) -> None:
        """One more of an entry, and of all containers."""
        self._add(Number(True, group_of(entry), counter))
        if counter in CONTAINER_COUNTERS:
            self._add(Number(True, "containers", counter))

    def count_restart(self) -> None:
        self._add(Number(True, "master", "restarts"))

    def set_levels(self, levels: Mapping[str, int]) -> None:
        """As the core gives them: plain names, and `ENTRY running`, `ENTRY ready`."""
        for name, value in levels.items():
            entry, blank, metric = name.rpartition(" ")
            if blank:
                self._put(Number(False, group_of(entry), metric), value)
            else:
                group = "containers" if name in LEVELS_OF_CONTAINERS else "master"
                self._put(Number(False, group, name), value)

    def close(self, *, remove: bool) -> None:
        self._map.close()
        if remove:
            self._meta.unlink(missing_ok=True)
            self._values.unlink(missing_ok=True)

    def _add(self, number: Number) -> None:
        offset = self._offsets.get(number)
        if offset is not None:
            (value,) = struct.unpack_from("=Q", self._map, offset)
            struct.pack_into("=Q", self._map, offset, (value + 1) % 2**64)

    def _put(self, number: Number, value: int) -> None:
        offset = self._offsets.get(number)
        if offset is not None:
            struct.pack_into("=q", self._map, offset, value)

    def _mapped_again(self, wanted: Sequence[Number]) -> mmap.mmap | None:
        try:
            if _read(self._meta) != _meta_text(wanted) or self._values.stat().st_size != _values_bytes(wanted):
                return None
            return _map(self._values)
        except FileNotFoundError:
            return None

    def _made(self, wanted: Sequence[Number]) -> mmap.mmap:
        """New files, with the counters of the old ones."""
        kept = read_values(self._meta, self._values)
        content = bytearray(_values_bytes(wanted))
        for number, offset in self._offsets.items():
            if number.is_counter:
                struct.pack_into("=Q", content, offset, kept.get(number, 0) % 2**64)
        _replace(self._values, bytes(content))
        _replace(self._meta, _meta_text(wanted))
        return _map(self._values)


def read_values(meta: Path, values: Path) -> dict[Number, int]:
    """What two files say; as far as they can be read."""
    try:
        text, content = _read(meta).decode(), values.read_bytes()
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[Number, int] = {}
    for index, line in enumerate(text.splitlines()):
        number, offset = _parse(line), index * VALUE_BYTES
        if number is None or offset + VALUE_BYTES > len(content):
            break
        (found[number],) = struct.unpack_from("=Q" if number.is_counter else "=q", content, offset)
    return found


def _parse(line: str) -> Number | None:
    matched = _LINE.fullmatch(line)
    try:
        pairs = json.loads(matched[2]) if matched else {}
    except ValueError:
        return None
    if matched is None or not {"group", "metric"} <= pairs.keys():
        return None
    return Number(matched[1] == "counter 8", str(pairs["group"]), str(pairs["metric"]))


def _meta_text(wanted: Iterable[Number]) -> bytes:
    return "\n".join(number.line for number in wanted).encode()


def _values_bytes(wanted: Sequence[Number]) -> int:
    return -(-len(wanted) * VALUE_BYTES // PAGE_BYTES) * PAGE_BYTES


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(META_BYTES_MAX)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.rename(path)


def _map(path: Path) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)
