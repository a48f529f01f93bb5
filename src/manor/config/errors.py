"""The root of every expected failure, and where in a file a thing stands."""

from __future__ import annotations

from dataclasses import dataclass


class ManorError(Exception):
    """An expected failure: one line that says where, what is wrong, what would be right. Entry files print it."""

    exit_status: int = 1


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file as the reader knows it; line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
