"""What every render command offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from manor.verwalter.render.task import Task


class RenderCommand(Protocol):
    """One item of `commands:` in a render file."""

    def texts(self) -> Iterable[str]:
        """Every string that will be expanded."""

    def directories(self) -> Iterable[str]:
        """Directories to be looked at before the first command, unexpanded."""

    def execute(self, task: Task) -> None:
        """Announce, then do; with `dry_run` only announce. Raises CommandFailed."""
