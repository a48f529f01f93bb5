"""The protocol of `.meta` and `.values`: what a description says, and where its numbers are. No input or output.

Programs publish numbers by storing them into a shared file, `.values`; beside it lies `.meta`, a text that says what
the bytes are. Entries follow each other from offset 0 without gaps. A line that cannot be read makes the whole file
malformed, since all offsets after it are unknown; an entry of an unknown type is only skipped, so that old readers
go on working with new writers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from manor.cantal.store.frame import Bits
from manor.cantal.store.keys import Key, key_of
from manor.cantal.store.series import Kind

META_BYTES_MAX: Final = 1 << 20
VALUES_BYTES_MAX: Final = 16 << 20
ENTRIES_MAX: Final = 10_000
PAIRS_MAX: Final = 32
NAME_BYTES_MAX: Final = 128
TEXT_BYTES_MAX: Final = 1024
STATE_HEAD_BYTES: Final = 8  # the time of entry; the text follows
LENGTH_MAX: Final = {"counter": 255, "level": 255}
OTHER_LENGTH_MAX: Final = 65_535
OWN_LABELS: Final = ("pid", "cgroup", "appname", "source")  # set by the agent: a file cannot claim them
LEVEL_KINDS: Final = {
    None: Kind.INTEGER,
    "signed": Kind.INTEGER,
    "unsigned": Kind.INTEGER,
    "float": Kind.FLOAT,
}
INT64_MAX: Final = np.uint64((1 << 63) - 1)

_LINE = re.compile(rb"([^\s:]+) ([0-9]+)(?: ([^\s:]+))? *: *(.*?) *")
_PAD = re.compile(rb"pad ([0-9]+)(?:[^0-9].*)?")
_CONTROL = re.compile(r"[\x00-\x1f]")


class MalformedMeta(ValueError):
    """The description cannot be used at all; `line` counts from 1, 0 stands for the whole file."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


@dataclass(frozen=True, slots=True)
class Defect:
    """Something about a pair of files that is not as it should be."""

    line: int  # of the description, from 1; 0 if it is about no line
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: where it is, how it is read, what it is called."""

    line: int
    offset: int
    length: int
    kind: Kind
    clamped: bool  # unsigned level: what does not fit an Integer becomes the largest one
    pairs: Mapping[str, str]  # as in the file, normalised
    text: str  # the JSON exactly as written


@dataclass(frozen=True, slots=True)
class Description:
    """A whole `.meta`."""

    size: int  # bytes of `.values` it speaks of
    entries: tuple[Entry, ...]
    defects: tuple[Defect, ...]  # what was left out and why


def parse_meta(data: bytes) -> Description:
    """Raises MalformedMeta."""
    if len(data) > META_BYTES_MAX:
        raise MalformedMeta(0, f"the description has more than {META_BYTES_MAX} bytes")
    entries: list[Entry] = []
    defects: list[Defect] = []
    offset = count = 0
    for number, raw in enumerate(data.split(b"\n"), start=1):
        line = raw.removesuffix(b"\r")
        if not line.strip():
            continue
        count += 1
        if count > ENTRIES_MAX:
            raise MalformedMeta(number, f"more than {ENTRIES_MAX} entries")
        length, made = _parse_line(number, line, offset)
        offset += length
        if isinstance(made, Entry):
            entries.append(made)
        elif made is not None:
            defects.append(made)
    if offset > VALUES_BYTES_MAX:
        raise MalformedMeta(0, f"the values described have {offset} bytes, more than {VALUES_BYTES_MAX}")
    return Description(offset, tuple(entries), tuple(defects))


def _parse_line(number: int, line: bytes, offset: int) -> tuple[int, Entry | Defect | None]:
    """The length of the entry, and what becomes of it (None: padding)."""
    if line.startswith(b"pad "):
        pad = _PAD.fullmatch(line)
        if pad is None:
            raise MalformedMeta(number, "bad length of `pad`; a decimal number is expected")
        return _checked_length(number, "pad", pad[1]), None
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedMeta(number, "cannot be read; `TYPE LENGTH [PARAMETER]: JSON` is expected")
    type_name = match[1].decode("ascii", "replace")
    length = _checked_length(number, type_name, match[2])
    param = match[3].decode("ascii", "replace") if match[3] else None
    pairs = _checked_json(number, match[4])
    kind = _kind(type_name, length, param)
    if kind is None:
        shown = " ".join(word for word in (type_name, str(length), param) if word)
        return length, Defect(number, f"unknown type `{shown}`; skipped")
    problem = _problem(pairs)
    if problem:
        return length, Defect(number, f"{problem}; left out")
    normal = {_plain(name): _plain(text) for name, text in pairs.items()}
    text = match[4].decode("utf-8", "replace")
    return length, Entry(number, offset, length, kind, param == "unsigned", normal, text)


def _checked_length(number: int, type_name: str, digits: bytes) -> int:
    most = LENGTH_MAX.get(type_name, OTHER_LENGTH_MAX)
    if len(digits) > len(str(most)) + 8 or not 1 <= int(digits) <= most:
        raise MalformedMeta(number, f"bad length of `{type_name}`; 1 to {most} is allowed")
    return int(digits)


def _checked_json(number: int, text: bytes) -> dict[str, Any]:
    """Numbers and booleans as their JSON text."""
    try:
        found = json.loads(text.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedMeta(number, "bad JSON; one object with text values is expected") from error
    if not isinstance(found, dict):
        raise MalformedMeta(number, "the JSON is no object; names and texts are expected")
    return {name: ("true" if value else "false") if isinstance(value, bool) else value for name, value in found.items()}


def _no_constant(name: str) -> str:
    raise ValueError(f"{name} is no JSON")


def _kind(type_name: str, length: int, param: str | None) -> Kind | None:
    if type_name == "counter" and length == 8 and param is None:
        return Kind.COUNTER
    if type_name == "level" and length == 8:
        return LEVEL_KINDS.get(param)
    if type_name == "state" and length > STATE_HEAD_BYTES and param is None:
        return Kind.STATE
    return None


def _problem(pairs: Mapping[str, Any]) -> str | None:
    """Why this key cannot be used."""
    for name, text in pairs.items():
        if not isinstance(text, str):
            return f"the value of `{_plain(name)}` is null, a list or an object"
    if len(pairs) > PAIRS_MAX:
        return f"more than {PAIRS_MAX} pairs"
    for name, text in pairs.items():
        if not 1 <= len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX:
            return f"a name of no or more than {NAME_BYTES_MAX} bytes"
        if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
            return f"the value of `{_plain(name)}` has more than {TEXT_BYTES_MAX} bytes"
    return None


def _plain(text: str) -> str:
    """Without control characters; half surrogate pairs, which JSON can spell, replaced."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode("utf-8")


def duplicates(description: Description) -> list[Defect]:
    """Entries whose key is used again further down; the last one counts."""
    last = {key_of(entry.pairs): entry.line for entry in description.entries}
    return [
        Defect(entry.line, f"the same key again in line {last[key_of(entry.pairs)]}; the last one counts")
        for entry in description.entries
        if last[key_of(entry.pairs)] != entry.line
    ]


def published_key(pairs: Mapping[str, str], **own: str) -> Key:
    """The key of a value: the pairs of the file, and what the agent knows. The agent's labels cannot be forged."""
    kept = {f"exported_{name}" if name in OWN_LABELS else name: text for name, text in pairs.items()}
    return key_of({**kept, **own})


class Layout:
    """Where the numbers of a file are, as arrays: one gather reads them all."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        last = {key_of(entry.pairs): entry for entry in entries}  # of equal keys the last one counts
        self.numbers: tuple[Entry, ...] = tuple(e for e in last.values() if e.kind is not Kind.STATE)
        self.states: tuple[Entry, ...] = tuple(e for e in last.values() if e.kind is Kind.STATE)
        self._offsets: NDArray[np.int64] = np.array([e.offset for e in self.numbers], np.int64)
        self._clamped = np.array([e.clamped for e in self.numbers], bool)

    def read_numbers(self, data: bytes) -> tuple[Bits, NDArray[np.bool_] | None]:
        """Samples of `numbers` in their order; what is present (None: all) if the file is too short for some."""
        present = self._offsets + 8 <= len(data)
        whole = bool(present.all())
        offsets = self._offsets if whole else np.where(present, self._offsets, 0)
        if len(data) < 8 or not len(offsets):
            return np.zeros(len(offsets), np.uint64), (None if whole else present)
        buffer = np.frombuffer(data, np.uint8)
        bits = buffer[offsets[:, None] + np.arange(8)].view(np.uint64).ravel()
        if self._clamped.any():
            bits = np.where(self._clamped, np.minimum(bits, INT64_MAX), bits)
        return bits, (None if whole else present)


def read_state(entry: Entry, data: bytes) -> tuple[int, str] | None:
    """(time of entry in ms, text); None if the file is too short."""
    field = data[entry.offset : entry.offset + entry.length]
    if len(field) < entry.length:
        return None
    text = field[STATE_HEAD_BYTES:].split(b"\0", 1)[0]
    return int.from_bytes(field[:STATE_HEAD_BYTES], _BYTE_ORDER), text.decode("utf-8", "replace")


_BYTE_ORDER: Final = "little" if np.little_endian else "big"


def pair_paths(path: str) -> tuple[str, str]:
    """(meta, values) of a CANTAL_PATH; both suffixes go to the end of the last component, a trailing slash goes."""
    stem = path.rstrip("/")
    return f"{stem}.meta", f"{stem}.values"


def all_defects(description: Description, values_bytes: int) -> Sequence[Defect]:
    """Everything worth telling whoever wrote the pair, by line."""
    found = [*description.defects, *duplicates(description)]
    found += [
        Defect(entry.line, f"`.values` has {values_bytes} bytes, this entry ends at {entry.offset + entry.length}")
        for entry in description.entries
        if entry.offset + entry.length > values_bytes
    ]
    return sorted(found, key=lambda defect: defect.line)
