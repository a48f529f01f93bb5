"""Packets in and out, timers, downloads: the network's side of a node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final, cast

import aiohttp

from manor.verwalter.node import Node
from manor.verwalter.transport import Fetch
from manor.verwalter.transport.download import DownloadFailed, download

log = logging.getLogger(__name__)

SLEEP_MAX_S: Final = 1.0  # a node with nothing to do still looks once a second


class Network(asyncio.DatagramProtocol):
    """The `Outside` of a node, and its election packets."""

    def __init__(self, node: Node, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        self._node = node
        self._session = session
        self._tasks = tasks
        self._wake = asyncio.Event()
        self._listeners: list[asyncio.Event] = []
        self._transport: asyncio.DatagramTransport | None = None

    # asyncio.DatagramProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # it is one without saying so

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        self._node.receive(data, str(address[0]).partition("%")[0], time.monotonic())

    def error_received(self, error: Exception) -> None:
        """A packet could not be delivered, for example to a host that is off: the machine expects losses."""
        log.debug("packet.undelivered reason=%s", error)

    # node.Outside

    def send(self, address: str, packet: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(packet, (address, self._node.identity.port))

    def fetch(self, order: Fetch, address: str) -> None:
        self._tasks.create_task(self._download(order, address))

    def changed(self) -> None:
        self._wake.set()
        for listener in self._listeners:
            listener.set()

    def listen(self) -> asyncio.Event:
        """An event that is set at each change; whoever asked for it clears it."""
        event = asyncio.Event()
        self._listeners.append(event)
        return event

    async def run_timers(self) -> None:
        """Call the node at its moments, until cancelled."""
        while True:
            self._wake.clear()
            pause_s = min(SLEEP_MAX_S, self._node.wake_at() - time.monotonic())
            if pause_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
            if time.monotonic() >= self._node.wake_at():
                self._node.tick(time.monotonic())

    async def _download(self, order: Fetch, address: str) -> None:
        node = self._node
        try:
            envelope = await download(
                self._session,
                address,
                order.hash,
                own_id=node.identity.id,
                keys=node.request_keys,
                bytes_max=node.settings.scheduler.max_schedule,
            )
        except DownloadFailed as error:
            node.fetch_failed(order, str(error), error.holders, time.monotonic())
        else:
            node.fetched(envelope, order.source, time.monotonic())


async def open_port(network: Network, host: str, port: int) -> asyncio.DatagramTransport:
    """Raises OSError where the address cannot be used."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: network, local_addr=(host, port))
    return transport
