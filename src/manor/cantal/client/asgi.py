"""Counts the requests and WebSockets of any ASGI application: `application = Middleware(application)`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .tracker import HttpTracker, RequestTracker, Running

Message = dict[str, Any]
App = Callable[..., Awaitable[None]]

SWITCHING_PROTOCOLS = 101
FORBIDDEN = 403


class Middleware:
    """A WebSocket counts as one request, for as long as it is open."""

    def __init__(self, app: App, group: str = "http.incoming", tracker: RequestTracker | None = None) -> None:
        self._app = app
        self._tracker = HttpTracker(group) if tracker is None else tracker

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: App) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        running = self._tracker.begin()
        accepted = False

        async def watch(message: Message) -> None:
            nonlocal accepted
            _note(message, running, accepted=accepted)
            accepted |= message["type"] == "websocket.accept"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            running.failed = True
            raise
        finally:
            running.end()


def _note(message: Message, running: Running, *, accepted: bool) -> None:
    if message["type"] == "http.response.start":
        running.answered(int(message["status"]))
    elif message["type"] == "websocket.accept":
        running.answered(SWITCHING_PROTOCOLS)
    elif message["type"] == "websocket.close" and not accepted:
        running.answered(FORBIDDEN)
