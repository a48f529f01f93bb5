"""What every render command offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from manor.verwalter.render.limits import Limits
from manor.verwalter.render.task import Task


class RenderCommand(Protocol):
    """One item of `commands:` in a render file."""

    def texts(self) -> Iterable[str]:
        """Every string that will be expanded."""

    def directories(self) -> Iterable[str]:
        """Directories to be looked at before the first command, unexpanded."""

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        """Why this node does not allow it; asked before any command runs, with names that are known to be complete."""

    def execute(self, task: Task) -> None:
        """Announce, then do; with `dry_run` only announce. Raises CommandFailed."""
