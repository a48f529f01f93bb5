"""Counts the requests of a Django site: `"manor.cantal.client.django.CantalMiddleware"` in MIDDLEWARE, best first.

The group is the setting `CANTAL_GROUP`, else `http.incoming`. Call `manor.cantal.client.start()` in wsgi.py or
asgi.py after the application was made; `start(per_process=True)` where a server forks its workers later.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from .tracker import HttpTracker, Running

Handler = Callable[[Any], Any]

_trackers: dict[str, HttpTracker] = {}  # by group: a site may build its chain of middleware more than once


def CantalMiddleware(get_response: Handler) -> Handler:
    """A middleware factory as Django wants it, for both kinds of chains."""
    group = getattr(import_module("django.conf").settings, "CANTAL_GROUP", "http.incoming")
    if group not in _trackers:
        _trackers[group] = HttpTracker(group)
    tracker = _trackers[group]

    def handle(request: Any) -> Any:
        running = tracker.begin()
        try:
            return _answered(get_response(request), running)
        except BaseException:
            _broken(running)
            raise

    async def handle_async(request: Any) -> Any:
        running = tracker.begin()
        try:
            waiting: Awaitable[Any] = get_response(request)
            return _answered(await waiting, running)
        except BaseException:
            _broken(running)
            raise

    return handle_async if inspect.iscoroutinefunction(get_response) else handle


CantalMiddleware.sync_capable = True  # type: ignore[attr-defined]
CantalMiddleware.async_capable = True  # type: ignore[attr-defined]


def _answered(response: Any, running: Running) -> Any:
    """A streamed response goes on until it is closed."""
    running.answered(int(response.status_code))
    if not getattr(response, "streaming", False):
        running.end()
        return response
    close = response.close

    def close_and_end() -> None:
        try:
            close()
        finally:
            running.end()

    response.close = close_and_end
    return response


def _broken(running: Running) -> None:
    running.failed = True
    running.end()
