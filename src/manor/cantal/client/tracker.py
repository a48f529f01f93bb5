"""Requests: how many, how long, how many failed, how many right now."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from .cells import Counter, Integer
from .collection import Collection

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
SERVER_ERROR = 500


class RequestTracker:
    """Requests of one group, incoming or outgoing."""

    def __init__(self, group: str, *, collection: Collection | None = None, **pairs: str) -> None:
        self.requests = Counter(group=group, metric="requests", collection=collection, **pairs)
        self.duration = Counter(group=group, metric="total_duration", collection=collection, **pairs)
        self.errors = Counter(group=group, metric="errors", collection=collection, **pairs)
        self.in_progress = Integer(group=group, metric="in_progress", collection=collection, **pairs)

    @contextmanager
    def request(self) -> Iterator[None]:
        running = self.begin()
        try:
            yield
        except Exception:
            running.failed = True
            raise
        finally:
            running.end()

    @asynccontextmanager
    async def arequest(self) -> AsyncIterator[None]:
        with self.request():
            yield

    def begin(self) -> Running:
        """For requests that end somewhere else than they begin."""
        return Running(self)

    def count_response(self, status: int) -> None:
        """What a middleware tells of the answer; see HttpTracker."""


class HttpTracker(RequestTracker):
    """Of HTTP requests, with a counter for each class of answers."""

    def __init__(self, group: str, *, collection: Collection | None = None, **pairs: str) -> None:
        super().__init__(group, collection=collection, **pairs)
        self.responses = [
            Counter(group=group, metric=f"responses_{name}", collection=collection, **pairs) for name in CLASSES
        ]

    def count_response(self, status: int) -> None:
        if 100 <= status < 600:
            self.responses[status // 100 - 1].incr()


class Running:
    """One request that is being served; ends once, however often it is told."""

    __slots__ = ("_begun", "_ended", "_status", "_tracker", "failed")

    def __init__(self, tracker: RequestTracker) -> None:
        self.failed = False
        self._tracker = tracker
        self._status: int | None = None
        self._ended = False
        self._begun = time.monotonic()
        tracker.in_progress.incr()

    def answered(self, status: int) -> None:
        """The status of the answer; an error from 500 on."""
        self._status = status
        self.failed |= status >= SERVER_ERROR

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        tracker = self._tracker
        tracker.in_progress.decr()
        tracker.requests.incr()
        tracker.duration.incr(int((time.monotonic() - self._begun) * 1000))
        if self.failed:
            tracker.errors.incr()
        if self._status is not None:
            tracker.count_response(self._status)
