"""What a push shows: a table that changes on a terminal, one line per change in a pipe, JSON on demand."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, Protocol

PERCENT_STEP: Final = 25  # in a pipe a change of less is none


class Display(Protocol):
    def say(self, text: str) -> None:
        """A line about the whole push."""

    def node(self, name: str, state: str, percent: int | None = None, error: str = "") -> None:
        """A node is in another state, or further."""

    def done(self, summary: Mapping[str, Any]) -> None:
        """How it ended."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def open_display(*, as_json: bool) -> Display:
    if as_json:
        return JsonDisplay()
    return TerminalDisplay() if sys.stdout.isatty() else LinesDisplay()


def wording(state: str, percent: int | None, error: str) -> str:
    """`waiting`, `40 %`, `verifying`, `ready`, `failed: reason`"""
    if state == "sending" and percent is not None:
        return f"{percent} %"
    return f"{state}: {error}" if error else state


class LinesDisplay:
    """For pipes and logs."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def say(self, text: str) -> None:
        print(text, flush=True)

    def node(self, name: str, state: str, percent: int | None = None, error: str = "") -> None:
        if percent is not None:
            percent -= percent % PERCENT_STEP
        text = wording(state, percent, error)
        if self._shown.get(name) != text:
            self._shown[name] = text
            print(f"{name}: {text}", flush=True)

    def done(self, summary: Mapping[str, Any]) -> None:
        pass  # every line was said

    def close(self) -> None:
        pass


class JsonDisplay:
    """One object a line, for scripts."""

    def say(self, text: str) -> None:
        self._print({"event": "message", "text": text})

    def node(self, name: str, state: str, percent: int | None = None, error: str = "") -> None:
        record: dict[str, Any] = {"event": "node", "node": name, "state": state}
        if percent is not None:
            record["percent"] = percent
        if error:
            record["error"] = error
        self._print(record)

    def done(self, summary: Mapping[str, Any]) -> None:
        self._print({"event": "done", **summary})

    def close(self) -> None:
        pass

    def _print(self, record: Mapping[str, Any]) -> None:
        print(json.dumps(record), flush=True)


class TerminalDisplay:
    """One line a node, drawn anew at each change."""

    def __init__(self) -> None:
        from rich.live import Live  # 50 ms that only a person at a terminal pays

        self._rows: dict[str, str] = {}
        self._live = Live(auto_refresh=False)
        self._live.start()

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def node(self, name: str, state: str, percent: int | None = None, error: str = "") -> None:
        from rich.table import Table

        self._rows[name] = wording(state, percent, error)
        table = Table(box=None, show_header=False)
        for row in self._rows.items():
            table.add_row(*row)
        self._live.update(table, refresh=True)

    def done(self, summary: Mapping[str, Any]) -> None:
        pass  # the table says it

    def close(self) -> None:
        self._live.stop()
