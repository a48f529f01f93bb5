"""What a runtime wrote to its log (`--log-format json`): one object a line, the last error is why it failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

TAIL_BYTES: Final = 65536  # far more than the last few lines


class _Line(msgspec.Struct, frozen=True):
    msg: str
    level: str = "error"


def last_message(path: Path) -> str:
    """The last error in the log, else its last line of any level; on one line, empty when the log is."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return parse_last_message(file.read())
    except FileNotFoundError:
        return ""


def parse_last_message(text: bytes) -> str:
    r"""
    >>> parse_last_message(b'{"level":"error","msg":"no such\\nfile"}\n{"level":"info","msg":"bye"}\n')
    'no such file'
    """
    last = ""
    for raw in reversed(text.splitlines()):
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except msgspec.MsgspecError:  # the first line of a tail that was cut, or a Go panic
            last = last or _one_line(raw.decode(errors="replace"))
            continue
        if line.level in {"error", "fatal", "panic"}:
            return _one_line(line.msg)
        last = last or _one_line(line.msg)
    return last


def _one_line(text: str) -> str:
    return " ".join(text.split())
