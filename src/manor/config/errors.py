"""The root of every expected failure, where in a file a thing stands, and what is wrong there.

ManorError                 every expected failure of every room and tool
    ConfigError            a file is not what its reader needs: one or many `Problem`s
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path  # not at run time: it costs what this whole module does


class ManorError(Exception):
    """An expected failure: one line that says where, what is wrong, what would be right. Entry files print it."""

    exit_status: int = 1


class Position(NamedTuple):
    """A place in a file as the reader knows it; line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One thing that is wrong in a file: the line a person reads is `str(problem)`.

    Attributes:
        text: "what is wrong; what would be right", one line.
        kind: lithos' `Parse Error`, `Validation Error` or `Decode Error`, shown before the text; None elsewhere.
        path: the option inside the document, such as ("volumes", "/tmp", "size"); shown behind the text.
        code: for programs, never shown: what class of problem `load_data` met (`YamlParse`, `BadYamlKey`, ...).
    """

    at: Position
    text: str
    kind: str | None = None
    path: tuple[str | int, ...] = ()
    code: str | None = None

    def __str__(self) -> str:
        kind = f"{self.kind}: " if self.kind else ""
        place = f" (in `{dotted(self.path)}`)" if self.path else ""
        return f"{self.at}: {kind}{self.text}{place}"


class ConfigError(ManorError):
    """A file that cannot be used. `str()` is one line a problem; never without a problem.

    Attributes:
        files: what was read or looked for until then; a change of one of them may mend it.
        directories: what was listed for globs of includes, for the same reason.
    """

    def __init__(
        self, problems: Iterable[Problem], *, files: tuple[Path, ...] = (), directories: tuple[Path, ...] = ()
    ) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.files = files
        self.directories = directories
        assert self.problems
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: tuple[str | int, ...]) -> str:
    """("setup", 0, "mode") -> `setup[0].mode`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return shortened(text)


def shortened(text: str, most: int = 80) -> str:
    """What a file says, fit for one line of a message: control characters escaped, cut when long."""
    if len(text) > most:
        text = text[:most] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
