"""Where rendering tells what it does: stdout for a dry run, else the role's log with marks in the index."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from manor.verwalter.deployment_log import DeploymentLog, LogFile, Marker, stamp, utc_now


class Journal(Protocol):
    @property
    def descriptor(self) -> int:
        """For the output of commands."""

    @property
    def keeps_files(self) -> bool:
        """Whether rendered files belong into it."""

    def say(self, text: str) -> None:
        """Whole lines."""

    def mark(self, name: str, file: str) -> None:
        """`ActionStart` or `ActionFinish` of a render file."""


class Printed:
    """A dry run: everything goes to stdout, pointers name the segment `dry-run`."""

    descriptor = 1
    keeps_files = False

    def __init__(self, role: str, deployment: str, *, marks: bool) -> None:
        self._role = role
        self._deployment = deployment
        self._marks = marks

    def say(self, text: str) -> None:
        print(text, flush=True)

    def mark(self, name: str, file: str) -> None:
        if not self._marks:
            return
        now, marker = stamp(utc_now()), Marker(name, file)
        pointer = {"variant": "Role", "fields": [self._role, "dry-run", 0]}
        self.say(json.dumps([now, self._deployment, pointer, marker.json], ensure_ascii=False, separators=(",", ":")))
        self.say(f"{now} {self._deployment} ------------ {self._role}: {marker} -----------")


class Logged:
    """The role's log. A disk that fails does not stop the rendering: what could not be written is told at its end."""

    keeps_files = True

    def __init__(self, log_dir: Path, role: str, deployment: str) -> None:
        self._notes = DeploymentLog(log_dir, deployment)
        self._role = role
        self._log: LogFile | None = None
        self.trouble: str | None = None

    def __enter__(self) -> Logged:
        self._attempt(self._open)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.close()

    @property
    def descriptor(self) -> int:
        return sys.stderr.fileno() if self._log is None else self._log.descriptor

    def say(self, text: str) -> None:
        log = self._log
        if log is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._attempt(lambda: log.write(text))

    def mark(self, name: str, file: str) -> None:
        log = self._log
        if log is not None:
            self._attempt(lambda: self._notes.mark_role(log, self._role, name, file))

    def failed(self, text: str) -> None:
        """The daemon has stderr appended to the same log: then the line is there already."""
        with contextlib.suppress(OSError, ValueError):  # no stderr is another file
            if os.path.sameopenfile(self.descriptor, sys.stderr.fileno()):
                return
        self.say(f"ERROR: {text}")

    def _open(self) -> None:
        self._log = self._notes.continue_role(self._role)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            where = error.filename or self._notes.directory / self._role
            self.trouble = self.trouble or f"{where}: {error.strerror}"
