"""Counts the requests of any WSGI application: `application = Middleware(application)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .tracker import HttpTracker, RequestTracker, Running


class Middleware:
    """A request lasts until the server has closed the answer, whether it read it to the end or not."""

    def __init__(
        self, app: Callable[..., Iterable[bytes]], group: str = "http.incoming", tracker: RequestTracker | None = None
    ) -> None:
        self._app = app
        self._tracker = HttpTracker(group) if tracker is None else tracker

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        running = self._tracker.begin()

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            running.answered(int(status[:3]))
            return start_response(status, headers, *more)

        try:
            return _Answer(self._app(environ, start), running)
        except BaseException:
            running.failed = True
            running.end()
            raise


class _Answer:
    """The application's answer; tells when it is closed."""

    def __init__(self, parts: Iterable[bytes], running: Running) -> None:
        self._parts = parts
        self._running = running

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._parts
        except Exception:
            self._running.failed = True
            raise

    def close(self) -> None:
        try:
            close = getattr(self._parts, "close", None)
            if close is not None:
                close()
        finally:
            self._running.end()
