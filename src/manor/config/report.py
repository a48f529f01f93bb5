"""What a document was found guilty of so far, and how much of the machine it may still use."""

from __future__ import annotations

from collections.abc import Callable

from manor.config.dialect import NODES_MAX, Dialect
from manor.config.errors import Position, Problem


class Stop(Exception):
    """Reading this file makes no sense beyond this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Report:
    """The problems of one document and all files it includes, up to the number its dialect shows."""

    def __init__(self, dialect: Dialect, warn: Callable[[Problem], None] | None) -> None:
        self.problems: list[Problem] = []
        self._dialect = dialect
        self._warn = warn

    @property
    def full(self) -> bool:
        return len(self.problems) >= self._dialect.problems_max

    def made(
        self,
        at: Position,
        text: str,
        *,
        kind: str = "Validation Error",
        path: tuple[str | int, ...] = (),
        code: str | None = None,
    ) -> Problem:
        return Problem(at, text, kind if self._dialect.kinds else None, path, code)

    def add(self, problem: Problem) -> None:
        if not self.full:
            self.problems.append(problem)

    def error(self, at: Position, text: str, *, path: tuple[str | int, ...] = (), code: str | None = None) -> None:
        self.add(self.made(at, text, path=path, code=code))

    def stop(self, at: Position, text: str, *, kind: str = "Parse Error", code: str | None = "YamlParse") -> Stop:
        return Stop(self.made(at, text, kind=kind, code=code))

    def warning(self, at: Position, text: str, *, path: tuple[str | int, ...] = ()) -> None:
        if self._warn is not None:
            self._warn(self.made(at, text, path=path))


class Budget:
    """The nodes a document may still have, aliases and includes expanded."""

    def __init__(self) -> None:
        self.nodes_left = NODES_MAX

    def spend(self, nodes: int, at: Position, report: Report) -> None:
        self.nodes_left -= nodes
        if self.nodes_left < 0:
            raise report.stop(
                at, f"more than {NODES_MAX:,} values, aliases and includes expanded; repeat less", code="TooLarge"
            )
