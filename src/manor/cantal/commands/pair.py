"""Pairs of `.meta` and `.values` as the commands read them: once, for a person."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manor.cantal.values import (
    META_BYTES_MAX,
    VALUES_BYTES_MAX,
    Defect,
    Description,
    Entry,
    Layout,
    MalformedMeta,
    all_defects,
    pair_paths,
    parse_meta,
    read_state,
)
from manor.config.errors import ManorError
from manor.kernel.inside import read_inside

MAPS_BYTES_MAX = 64 << 20


class Unreadable(ManorError):
    """/t/x.meta:3: bad length of `counter`; 1 to 255 is allowed"""


@dataclass(frozen=True, slots=True)
class ReadValue:
    """One value: its description as written, kind and value (a State is (ms, text))."""

    text: str
    kind: str
    value: Any

    def __str__(self) -> str:
        return f"{self.text} {self.kind}({_shown(self.value)})"


@dataclass(frozen=True, slots=True)
class ReadPair:
    values: tuple[ReadValue, ...]
    defects: tuple[Defect, ...]


def read_pair(meta: str, values: str, root: str = "/") -> ReadPair:
    """Raises Unreadable. Paths are looked up inside `root`, so links of a container stay in it."""
    try:
        description = parse_meta(read_inside(root, meta, META_BYTES_MAX))
    except MalformedMeta as error:
        place = f"{meta}:{error.line}" if error.line else meta
        raise Unreadable(f"{place}: {error.text}") from error
    except OSError as error:
        raise Unreadable(f"{meta}: {error.strerror}; the description of the values is expected there") from error
    try:
        data = read_inside(root, values, VALUES_BYTES_MAX)
    except OSError as error:
        raise Unreadable(f"{values}: {error.strerror}; the file of values is expected there") from error
    return ReadPair(tuple(decoded(description, data)), tuple(all_defects(description, len(data))))


def decoded(description: Description, data: bytes) -> list[ReadValue]:
    """Every value that lies inside the file, in the order of the description."""
    found: dict[int, ReadValue] = {}  # by line
    layout = Layout(description.entries)
    bits, present = layout.read_numbers(data)
    here = np.ones(len(bits), bool) if present is None else present
    for i, entry in enumerate(layout.numbers):
        if here[i]:
            found[entry.line] = ReadValue(entry.text, entry.kind.name.capitalize(), _number(entry, bits[i : i + 1]))
    for entry in layout.states:
        state = read_state(entry, data)
        if state is not None:
            found[entry.line] = ReadValue(entry.text, "State", state)
    return [found[line] for line in sorted(found)]


def _number(entry: Entry, bits: Any) -> int | float:
    number: int | float = bits.view({"COUNTER": "u8", "INTEGER": "i8", "FLOAT": "f8"}[entry.kind.name])[0].item()
    return number


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({value[0]}, {json.dumps(value[1], ensure_ascii=False)})"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return repr(value)


def pairs_of_file(path: str) -> list[tuple[str, str]]:
    """(meta, values): the description has another last extension."""
    return [(str(Path(path).with_suffix(".meta").absolute()), str(Path(path).absolute()))]


def pairs_of_process(pid: int, proc: str = "/proc") -> list[tuple[str, str]]:
    """What a process publishes, as paths inside its root; by its environment, else by its memory maps.

    Raises Unreadable if there is no such process or it may not be looked at.
    """
    try:
        environ = _environ(pid, proc)
        path = environ.get("CANTAL_PATH")
        if not path:
            return _mapped(pid, environ.get("XDG_RUNTIME_DIR") or "/tmp", proc)
        if not path.startswith("/"):
            path = os.path.join(os.readlink(f"{proc}/{pid}/cwd"), path)
        return [
            pair
            for pair in (pair_paths(path), pair_paths(f"{path}.{_inner_pid(pid, proc)}"))
            if _exists(pid, pair, proc)
        ]
    except OSError as error:
        raise Unreadable(f"{pid}: {error.strerror}; a running process one may look at is expected") from error


def _environ(pid: int, proc: str) -> dict[str, str]:
    data = Path(f"{proc}/{pid}/environ").read_bytes()
    words = (os.fsdecode(word).partition("=") for word in data.split(b"\0"))
    found: dict[str, str] = {}
    for name, _, value in words:
        found.setdefault(name, value)
    return found


def _inner_pid(pid: int, proc: str) -> str:
    for line in Path(f"{proc}/{pid}/status").read_text("utf-8", "replace").splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return str(pid)


def _exists(pid: int, pair: tuple[str, str], proc: str) -> bool:
    return os.path.exists(f"{proc}/{pid}/root{pair[0]}")


def _mapped(pid: int, below: str, proc: str) -> list[tuple[str, str]]:
    with open(f"{proc}/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file.read(MAPS_BYTES_MAX).splitlines() if "/" in line}
    directory = below.rstrip("/") + "/"
    return [
        (path.removesuffix(".values") + ".meta", path)
        for path in sorted(paths)
        if path.startswith(directory) and path.endswith(".values")
    ]
