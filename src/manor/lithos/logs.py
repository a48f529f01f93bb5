"""The log of the master and those of the sandboxes: one line a record, files opened again when they were moved away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LEVELS: Final = ("error", "warn", "info", "debug", "trace")


def level_number(name: str) -> int:
    """0 is the most urgent; `warning` is `warn`, in any case of letters."""
    lower = name.lower()
    return LEVELS.index("warn" if lower == "warning" else lower)


class LogFile:
    """A file for append. Renaming or removing it makes the next line begin a new one."""

    def __init__(self, path: Path, level: str) -> None:
        self.path = path
        self._level = level_number(level)
        self._fd: int | None = None
        self._failed = False

    def takes(self, level: str) -> bool:
        return level_number(level) <= self._level

    @property
    def is_verbose(self) -> bool:
        return self._level >= level_number("debug")

    def write(self, line: str) -> None:
        """A full disk costs the line, not the supervision; it is told on stderr once per episode."""
        try:
            os.write(self._current(), line.encode(errors="backslashreplace"))
            self._failed = False
        except OSError as error:
            if not self._failed:
                print(f"lithos: cannot write {self.path}: {error.strerror}", file=sys.stderr)
            self._failed = True

    def _current(self) -> int:
        if self._fd is not None:
            try:
                there, held = self.path.stat(), os.fstat(self._fd)
                if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                    return self._fd
            except FileNotFoundError:
                pass
            os.close(self._fd)
            self._fd = None
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self._fd


class Logs:
    """Where lines go: always to the master's log, and to a sandbox's when they are about one of its containers."""

    def __init__(self, master: LogFile | None, sandboxes: Mapping[str, LogFile], *, to_stderr: bool) -> None:
        self._master = master
        self._sandboxes = dict(sandboxes)
        self._to_stderr = to_stderr

    def add_sandboxes(self, files: Mapping[str, LogFile]) -> None:
        self._sandboxes.update(files)

    def say(self, level: str, text: str, sandbox: str | None = None) -> None:
        targets = [self._master, self._sandboxes.get(sandbox) if sandbox is not None else None]
        wanted = [target for target in targets if target is not None and target.takes(level)]
        for target in wanted:
            target.write(format_line(level, text, with_place=target.is_verbose))
        if self._to_stderr and (wanted or self._master is None):
            print(format_line(level, text), end="", file=sys.stderr, flush=True)


def format_line(level: str, text: str, *, with_place: bool = False, now: float | None = None) -> str:
    """`[2026-03-01T10:29:40Z][WARN] text`; text is made one line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    place = ""
    if with_place:
        frame = sys._getframe(2)
        place = f"[{Path(frame.f_code.co_filename).name}:{frame.f_lineno}]"
    return f"[{stamp}][{level.upper()}]{place} {' | '.join(text.splitlines())}\n"
