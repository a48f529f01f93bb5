"""Counts the requests of an aiohttp server: `web.Application(middlewares=[middleware()])`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .tracker import HttpTracker, RequestTracker


def middleware(group: str = "http.incoming", tracker: RequestTracker | None = None) -> Any:
    """Put it first, so that what the others do is counted in."""
    counted = HttpTracker(group) if tracker is None else tracker

    @web.middleware
    async def track(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        running = counted.begin()
        try:
            response = await handler(request)
            running.answered(response.status)
            return response
        except web.HTTPException as answer:  # an answer too, not a failure
            running.answered(answer.status)
            raise
        except Exception:
            running.failed = True
            raise
        finally:
            running.end()

    return track
