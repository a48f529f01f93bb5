"""/proc/PID/stat and /proc/PID/io of many processes at once, and the few facts of /proc/PID/status.

A name may hold anything, brackets and line feeds too, so it ends at the last `)`. Source: proc_pid_stat(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIRST_FIELD = 4  # of the numbers: 1 is the pid, 2 the name, 3 the state letter
PPID, MINFLT, MAJFLT, UTIME, STIME, CUTIME, CSTIME, THREADS, START, VSIZE, RSS, START_STACK, ARG_START, ENV_START = (
    number - FIRST_FIELD for number in (4, 10, 12, 14, 15, 16, 17, 20, 22, 23, 24, 28, 48, 50)
)
FIELDS_MIN = ENV_START + 1  # since Linux 3.5
PROGRAM = (START_STACK, ARG_START, ENV_START)  # another program runs if one of them changes

IO_FIELDS = 7
READ_BYTES, WRITE_BYTES = 4, 5
_IO_NAMES = b"abcdefghijklmnopqrstuvwxyz_:"

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stats:
    """What the stat files say, one row a process; `good` are the positions of the texts that could be read."""

    names: list[bytes]
    states: list[str]
    numbers: Numbers  # (processes, fields), fields counted from FIRST_FIELD
    good: list[int]


def parse_stats(texts: Sequence[bytes]) -> Stats:
    """One parse for all. Texts that are no stat line are left out."""
    ends = [text.rfind(b")") for text in texts]
    tails = [text[end + 4 :] for text, end in zip(texts, ends, strict=True)]
    good = list(range(len(texts)))
    try:
        numbers = np.fromstring(b" ".join(tails), np.int64, sep=" ").reshape(len(texts), -1)
        if not len(texts) or numbers.shape[1] < FIELDS_MIN:
            raise ValueError("too few fields")
    except ValueError:
        good = [i for i, tail in enumerate(tails) if _is_whole(tail, ends[i])]
        width = max((len(tails[i].split()) for i in good), default=FIELDS_MIN)
        good = [i for i in good if len(tails[i].split()) == width]
        rows = b"".join(tails[i] + b" " for i in good)
        numbers = np.fromstring(rows, np.int64, sep=" ").reshape(len(good), width)
    return Stats(
        [texts[i][texts[i].index(b"(") + 1 : ends[i]] for i in good],
        [chr(texts[i][ends[i] + 2]) for i in good],
        numbers,
        good,
    )


def _is_whole(tail: bytes, end: int) -> bool:
    words = tail.split()
    return end > 0 and len(words) >= FIELDS_MIN and all(word.lstrip(b"-").isdigit() for word in words)


def parse_io(texts: Sequence[bytes]) -> Numbers:
    """Lines `rchar: 1`, `wchar: 2` ... of each process -> (processes, IO_FIELDS). ValueError in another shape."""
    return np.fromstring(b"".join(texts).translate(None, _IO_NAMES), np.int64, sep=" ").reshape(len(texts), IO_FIELDS)


@dataclass(frozen=True, slots=True)
class Status:
    """The facts of /proc/PID/status that stat does not have."""

    uids: tuple[int, ...]  # real, effective, saved, file system
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    swap_bytes: int  # 0 for kernel threads, which have no such line
    inner_pid: int | None  # in the innermost pid namespace


def parse_status(text: bytes) -> Status:
    """Looked up line by line: the file has sixty lines, and is read for hundreds of processes in a tick."""
    swap = _words(text, b"\nVmSwap:")
    inner = _words(text, b"\nNSpid:")
    return Status(
        tuple(map(int, _words(text, b"\nUid:"))),
        tuple(map(int, _words(text, b"\nGid:"))),
        tuple(map(int, _words(text, b"\nGroups:"))),
        int(swap[0]) * 1024 if swap else 0,
        int(inner[-1]) if inner else None,
    )


def _words(text: bytes, name: bytes) -> list[bytes]:
    """What stands behind this name, on its line."""
    at = text.find(name)
    return text[at + len(name) : text.find(b"\n", at + 1)].split() if at >= 0 else []
