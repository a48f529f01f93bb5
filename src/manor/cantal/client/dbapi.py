"""Counts the statements sent to a database: `connection = track(connection, RequestTracker("db"))`."""

from __future__ import annotations

from typing import Any

from .tracker import RequestTracker

COUNTED = ("execute", "executemany", "callproc")


class TrackedConnection:
    """A DB API connection whose cursors count; everything else is passed on."""

    def __init__(self, connection: Any, tracker: RequestTracker) -> None:
        self._connection = connection
        self._tracker = tracker

    def cursor(self, *arguments: Any, **options: Any) -> TrackedCursor:
        return TrackedCursor(self._connection.cursor(*arguments, **options), self._tracker)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> TrackedConnection:
        self._connection.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._connection.__exit__(*error)


class TrackedCursor:
    """Statements count, fetching does not."""

    def __init__(self, cursor: Any, tracker: RequestTracker) -> None:
        self._cursor = cursor
        self._tracker = tracker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cursor, name)
        if name not in COUNTED:
            return found

        def counted(*arguments: Any, **options: Any) -> Any:
            with self._tracker.request():
                return found(*arguments, **options)

        return counted

    def __iter__(self) -> Any:
        return iter(self._cursor)

    def __enter__(self) -> TrackedCursor:
        self._cursor.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._cursor.__exit__(*error)


def track(connection: Any, tracker: RequestTracker) -> TrackedConnection:
    return TrackedConnection(connection, tracker)
