"""How many connections may be open, and how long one may take to say what it wants.

The HTTP library bounds neither. So each connection's protocol is wrapped in a `GatedConnection`, which passes
everything on, counts, and closes those that begin a request and do not finish its headers in time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from manor.http.limits import CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HEADERS_WITHIN_S

_BUSY_BODY: Final = b'{"error":"too many connections; try again in 5 s"}'
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class Gate:
    """Counts the open connections of one server."""

    def __init__(
        self,
        *,
        connections_max: int = CONNECTIONS_MAX,
        per_address_max: int = CONNECTIONS_PER_ADDRESS_MAX,
        headers_within_s: float = HEADERS_WITHIN_S,
    ) -> None:
        self.connections_max = connections_max
        self.per_address_max = per_address_max
        self.headers_within_s = headers_within_s
        self.refused = 0
        self.by_address: Counter[str] = Counter()
        self._by_transport: dict[asyncio.BaseTransport, GatedConnection] = {}

    def factory(self, inner: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory that puts the gate before another."""
        return lambda: GatedConnection(self, inner())

    def enter(self, connection: GatedConnection, transport: asyncio.Transport, address: str) -> bool:
        """May this connection stay? Then it is counted until it leaves."""
        if len(self._by_transport) >= self.connections_max or self.by_address[address] >= self.per_address_max:
            self.refused += 1
            return False
        self._by_transport[transport] = connection
        self.by_address[address] += 1
        return True

    def leave(self, transport: asyncio.Transport, address: str) -> None:
        del self._by_transport[transport]
        self.by_address[address] -= 1
        if not self.by_address[address]:
            del self.by_address[address]

    def request_begins(self, transport: asyncio.BaseTransport | None) -> None:
        """The headers are complete: the clock stops."""
        connection = self._by_transport.get(transport) if transport is not None else None
        if connection is not None:
            connection.headers_complete()

    def request_ends(self, transport: asyncio.BaseTransport | None) -> None:
        """The answer is sent: the next byte begins the next request."""
        connection = self._by_transport.get(transport) if transport is not None else None
        if connection is not None:
            connection.in_request = False


class GatedConnection(asyncio.Protocol):
    """One connection: passes everything to the HTTP library's protocol."""

    def __init__(self, gate: Gate, inner: asyncio.Protocol) -> None:
        self._gate = gate
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._timer: asyncio.TimerHandle | None = None
        self.in_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else "local"
        if not self._gate.enter(self, transport, self._address):
            transport.write(_BUSY)
            transport.close()
            return
        self._transport = transport
        self._start_clock()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return  # refused: whatever it says is not heard
        if not self.in_request and self._timer is None:
            self._start_clock()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._transport is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        if self._transport is not None:
            self._gate.leave(self._transport, self._address)
            self._transport = None
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._inner.resume_writing()

    def headers_complete(self) -> None:
        self._stop_clock()
        self.in_request = True

    def _start_clock(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._gate.headers_within_s, self._too_slow)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._transport is not None:
            self._transport.close()
