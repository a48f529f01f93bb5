"""What deployments write below the log directory: text for people, and an index that says where each part begins.

    .index/index.YYYYMMDD.json   one JSON array a line: [time, deployment id, pointer, marker]
    .global/log.SEGMENT.txt      what the daemon does with deployments
    .changes/log.SEGMENT.txt     what the scheduler says has changed
    ROLE/log.SEGMENT.txt         everything one role's rendering printed

Daemon and renderer share a role's file: the daemon opens it (and only it begins a new segment), the renderer appends
to the `latest` one. One `write` a line, so a crash leaves at most one partial last line.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

SEGMENT_BYTES_MAX: Final = 10 * 1024 * 1024
MARKER_NAMES: Final = frozenset(
    {
        "DeploymentStart",
        "DeploymentFinish",
        "DeploymentError",
        "DeploymentChanges",
        "RoleStart",
        "RoleFinish",
        "ActionStart",
        "ActionFinish",
        "ExternalLog",
    }
)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """`2026-03-14T09:15:02.123Z`"""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a part of a log begins: `Global`, `Changes`, `Role` or `External`, and the fields of that kind."""

    variant: str
    fields: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    """What begins or ends there; `file` is the renderer file of an action."""

    name: str
    file: str | None = None

    @property
    def json(self) -> Any:
        return self.name if self.file is None else {"variant": self.name, "fields": [self.file]}

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.name} {self.file}"


class LogFile:
    """The present segment of one text log, opened for appending."""

    def __init__(self, directory: Path, segment: str, descriptor: int) -> None:
        self.directory = directory
        self.segment = segment
        self.descriptor = descriptor  # for children that append to it as well

    @classmethod
    def open(cls, directory: Path, now: datetime, bytes_max: int = SEGMENT_BYTES_MAX) -> LogFile:
        """Begin a deployment or role: a new segment if there is none yet or the present one is full."""
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        segment = _latest_segment(directory)
        if segment is None or (directory / f"log.{segment}.txt").stat().st_size > bytes_max:
            segment = now.strftime("%Y%m%d%H%M%S")
        return cls._open(directory, segment)

    @classmethod
    def open_latest(cls, directory: Path, now: datetime) -> LogFile:
        """Go on in the segment that was opened last."""
        return cls.open(directory, now, bytes_max=2**62)

    @classmethod
    def _open(cls, directory: Path, segment: str) -> LogFile:
        name = f"log.{segment}.txt"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(directory / name, flags, 0o644)
        _point_latest(directory, name)
        return cls(directory, segment, descriptor)

    @property
    def offset(self) -> int:
        """Where the next line will begin."""
        return os.fstat(self.descriptor).st_size

    def write(self, text: str) -> None:
        """Append whole lines."""
        content = text.encode(errors="backslashreplace")
        if not content.endswith(b"\n"):
            content += b"\n"
        os.write(self.descriptor, content)

    def block(self, kind: str, name: str, text: str) -> None:
        """Several lines between `+++ KIND start: NAME +++` and `+++ KIND end: NAME +++`."""
        body = text if text.endswith("\n") or not text else f"{text}\n"
        self.write(f"+++ {kind} start: {name} +++\n{body}+++ {kind} end: {name} +++\n")

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class DeploymentLog:
    """The logs of one deployment; daemon and renderer each have one with the same id."""

    directory: Path
    deployment: str
    bytes_max: int = SEGMENT_BYTES_MAX
    clock: Clock = utc_now

    def open_global(self) -> LogFile:
        return LogFile.open(self.directory / ".global", self.clock(), self.bytes_max)

    def open_role(self, role: str) -> LogFile:
        """For the daemon, at the beginning of a role."""
        return LogFile.open(self.directory / role, self.clock(), self.bytes_max)

    def continue_role(self, role: str) -> LogFile:
        """For the renderer, between the daemon's RoleStart and RoleFinish."""
        return LogFile.open_latest(self.directory / role, self.clock())

    def mark_global(self, log: LogFile, name: str) -> None:
        self._mark(log, Pointer("Global", (log.segment, log.offset)), Marker(name), role=None)

    def mark_role(self, log: LogFile, role: str, name: str, file: str | None = None) -> None:
        self._mark(log, Pointer("Role", (role, log.segment, log.offset)), Marker(name, file), role=role)

    def mark_external(self, path: str, size: int) -> None:
        """A file of `log-dirs`, `NAME/path`, and its size at this moment."""
        self._index(Pointer("External", (path, size)), Marker("ExternalLog"))

    def changes(self, hash: str, lines: Iterable[str]) -> None:
        """The scheduler's own words about a new schedule, one line each."""
        now = stamp(self.clock())
        with LogFile.open(self.directory / ".changes", self.clock(), self.bytes_max) as log:
            self._index(Pointer("Changes", (log.segment, log.offset)), Marker("DeploymentChanges"))
            for line in lines:
                log.write(f"{now}: {hash[:8]}: {' '.join(line.splitlines())}")

    def _mark(self, log: LogFile, pointer: Pointer, marker: Marker, role: str | None) -> None:
        assert marker.name in MARKER_NAMES
        self._index(pointer, marker)
        of = "" if role is None else f"{role}: "
        log.write(f"{stamp(self.clock())} {self.deployment} ------------ {of}{marker} -----------")

    def _index(self, pointer: Pointer, marker: Marker) -> None:
        now = self.clock()
        directory = self.directory / ".index"
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        name = f"index.{now.astimezone(UTC):%Y%m%d}.json"
        entry = [
            stamp(now),
            self.deployment,
            {"variant": pointer.variant, "fields": list(pointer.fields)},
            marker.json,
        ]
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
        descriptor = os.open(directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        if not _points_at(directory, name):
            _point_latest(directory, name)


def prune(directory: Path, *, keep_segments: int, keep_index_days: int) -> None:
    """Delete the oldest segments and index days beyond the limits, never the latest."""
    for log in (path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()):
        if log.name == ".audit":
            continue  # it has its own time to live
        keep = keep_index_days if log.name == ".index" else keep_segments
        names = sorted(name for name in os.listdir(log) if name.startswith(("log.", "index.")))
        for name in names[:-keep]:
            if not _points_at(log, name):
                (log / name).unlink()


def _latest_segment(directory: Path) -> str | None:
    try:
        name = os.readlink(directory / "latest")
        os.stat(directory / name)
    except OSError:
        return None
    return name.removeprefix("log.").removesuffix(".txt")


def _points_at(directory: Path, name: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(directory / "latest") == name
    return False


def _point_latest(directory: Path, name: str) -> None:
    if _points_at(directory, name):
        return
    temporary = directory / f"latest.tmp.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(name)
    temporary.rename(directory / "latest")
