"""A WebSocket as handlers see it: whole messages, a bound on what waits to be sent, and a code when it closes."""

from __future__ import annotations

from typing import Protocol


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
