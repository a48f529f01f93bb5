"""A WebSocket as handlers see it: whole messages, a bound on what waits to be sent, and a code when it closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from aiohttp import WSMsgType, web

from manor.http.message import Request


class WebSocket(Protocol):
    """The server's side of one open WebSocket."""

    @property
    def subprotocol(self) -> str | None:
        """What was agreed upon, of those the route offers."""

    @property
    def unsent_bytes(self) -> int:
        """What the other side has not taken yet. Watch it: nobody else bounds it."""

    async def receive(self) -> str | bytes | None:
        """The next message; None when the other side is gone, with or without a word."""

    async def send(self, message: str | bytes) -> None:
        """Raises ConnectionError when the other side is gone."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say why and close; more than once does no harm."""


SocketHandler: TypeAlias = Callable[[Request, WebSocket], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A path that becomes a WebSocket."""

    handler: SocketHandler
    access: str
    subprotocols: tuple[str, ...]
    message_bytes_max: int


class OpenSocket:
    """The library's socket as a `WebSocket`."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse) -> None:
        self._request = request
        self._response = response

    @property
    def subprotocol(self) -> str | None:
        return self._response.ws_protocol

    @property
    def unsent_bytes(self) -> int:
        transport = self._request.transport
        return transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0

    async def receive(self) -> str | bytes | None:
        message = await self._response.receive()
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        return None

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._response.send_str(message)
        else:
            await self._response.send_bytes(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._response.close(code=code, message=reason.encode()[:120])
