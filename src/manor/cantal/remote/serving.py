"""The member's side of `/peer/ws`: says who it is, then sends what was subscribed to, after every tick."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from manor import VERSION
from manor.cantal.collector import Collector, Tick
from manor.cantal.query.conditions import parse_condition
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.cantal.remote import limits, messages
from manor.cantal.remote.auth import Handshake, new_nonce
from manor.cantal.remote.messages import Auth, BadMessage, Beacon, Error, Hello, Subscribe, Unsubscribe, Welcome
from manor.cantal.remote.ticks import Columns
from manor.cantal.store.frame import Frame
from manor.cantal.store.keys import encode_key
from manor.cantal.store.series import Condition
from manor.cantal.store.states import StateSample
from manor.cantal.store.view import LocalView
from manor.http.message import Request
from manor.http.websocket import WebSocket
from manor.trust.keys import PurposeKeys

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Subscription:
    """What one asker wants of us."""

    number: int
    source: str
    condition: Condition
    ticks: int | None  # back-fill; None: everything later than `sent_until`
    sent_until: int
    columns: Columns
    states: dict[Any, StateSample]
    begun: bool = False


class PeerServer:
    """All connections other agents have made to us."""

    def __init__(
        self,
        collector: Collector,
        *,
        own_id: bytes,
        name: str,
        keys: Callable[[], PurposeKeys | None],
        facts: Callable[[], dict[str, Any]],
    ) -> None:
        """
        Args:
            keys: of purpose `peer`, asked at every handshake.
            facts: what a beacon says of this agent.
        """
        self._collector = collector
        self._id = own_id
        self._name = name
        self._keys = keys
        self._facts = facts
        self._wake: set[asyncio.Event] = set()
        self._shared: dict[tuple[Condition, int, int], Frame] = {}
        self._view: tuple[int, LocalView] | None = None
        self.sessions = 0

    def watch(self) -> Callable[[], None]:
        """Begin to follow the ticks; returns what ends it. Call it in the event loop."""
        loop = asyncio.get_running_loop()

        def on_tick(_: Tick) -> None:
            loop.call_soon_threadsafe(self._ticked)

        return self._collector.subscribe(on_tick)

    def _ticked(self) -> None:
        for event in self._wake:
            event.set()

    async def serve(self, _: Request, socket: WebSocket) -> None:
        """One connection, until it ends."""
        asker = await self._shake_hands(socket)
        if asker is None:
            return
        log.info("peer.connected id=%s", asker.hex())
        wake = asyncio.Event()
        self._wake.add(wake)
        self.sessions += 1
        try:
            await _Session(self, socket, wake).run()
        finally:
            self.sessions -= 1
            self._wake.discard(wake)
            log.info("peer.disconnected id=%s", asker.hex())

    async def _shake_hands(self, socket: WebSocket) -> bytes | None:
        nonce = new_nonce()
        hello = Hello(
            id=self._id,
            name=self._name,
            version=VERSION,
            interval=self._collector.options.interval_ms,
            newest_tick=self._collector.store.newest_tick,
            clock=_now_ms(),
            nonce=nonce,
        )
        await socket.send(messages.encode(hello))
        try:
            async with asyncio.timeout(limits.HANDSHAKE_S):
                data = await socket.receive()
            auth = messages.decode(data) if data is not None else None
        except (TimeoutError, BadMessage):
            auth = None
        keys = self._keys()
        if isinstance(auth, Auth):
            hands = Handshake(server_id=self._id, server_nonce=nonce, client_id=auth.id, client_nonce=auth.nonce)
            if hands.accepts(keys, auth.mac, by_server=False):
                await socket.send(messages.encode(Welcome(hands.proof(keys, by_server=True))))
                return auth.id
        await socket.close(limits.CLOSE_NOT_AUTHORISED, "not authorised")
        return None

    def view(self) -> LocalView:
        """The store as of the newest tick; made once for all connections."""
        newest = self._collector.store.newest_tick
        if self._view is None or self._view[0] != newest:
            self._view = newest, self._collector.store.view()
            self._shared.clear()
        return self._view[1]

    def frame_since(self, condition: Condition, first: int, last: int) -> Frame:
        """Ticks first..last-1 of the present view; equal subscriptions share it."""
        view = self.view()
        key = (condition, first, last)
        frame = self._shared.get(key)
        if frame is None:
            frame = self._shared[key] = view.frame(view.matching(condition), first, last)
        return frame

    def beacon(self) -> Beacon:
        return Beacon(self._collector.store.newest_tick, _now_ms(), self._facts())


class _Session:
    """One asker."""

    def __init__(self, server: PeerServer, socket: WebSocket, wake: asyncio.Event) -> None:
        self._server = server
        self._socket = socket
        self._wake = wake
        self._subscriptions: dict[int, Subscription] = {}
        self._refused: list[Error] = []
        self._beaconed = -1

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            done, _ = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        for task in done:
            error = task.exception()
            if isinstance(error, BadMessage):
                await self._socket.close(limits.CLOSE_BAD_MESSAGE, str(error))
            elif isinstance(error, TimeoutError):
                await self._socket.close(limits.CLOSE_TOO_SLOW, "too slow")
            elif error is not None and not isinstance(error, ConnectionError):
                raise error

    async def _read(self) -> None:
        while (data := await self._socket.receive()) is not None:
            message = messages.decode(data)
            if isinstance(message, Subscribe):
                self._subscribe(message)
            elif isinstance(message, Unsubscribe):
                self._subscriptions.pop(message.sub, None)
            else:
                raise BadMessage(f"`{message.type}` is not for a server")
            self._wake.set()

    def _subscribe(self, wanted: Subscribe) -> None:
        if wanted.functions:
            self._refused.append(Error(wanted.sub, "functions are not supported yet"))
            return
        if len(self._subscriptions) >= limits.SUBSCRIPTIONS_MAX:
            self._refused.append(Error(wanted.sub, f"more than {limits.SUBSCRIPTIONS_MAX} subscriptions"))
            return
        try:
            condition = parse_condition(wanted.condition, "condition")
        except (BadQuery, QueryTooBig) as error:
            self._refused.append(Error(wanted.sub, str(error)))
            return
        ticks = wanted.ticks if wanted.since is None else None
        self._subscriptions[wanted.sub] = Subscription(
            wanted.sub, wanted.source, condition, ticks, wanted.since or 0, Columns(wanted.sub), {}
        )

    async def _write(self) -> None:
        """Whenever there is something new. An asker that does not read gets fewer, larger messages, then none."""
        while True:
            self._wake.clear()
            for error in self._refused:
                await self._send(error)
            self._refused.clear()
            for subscription in list(self._subscriptions.values()):
                if subscription.source == "Tip":
                    await self._send_states(subscription)
                else:
                    await self._send_ticks(subscription)
            beacon = self._server.beacon()
            if beacon.newest_tick != self._beaconed:
                self._beaconed = beacon.newest_tick
                await self._send(beacon)
            await self._wake.wait()

    async def _send_ticks(self, subscription: Subscription) -> None:
        view = self._server.view()
        last = len(view.times)
        if not subscription.begun and subscription.ticks is not None:
            first = max(0, last - subscription.ticks)
        else:
            first = int(np.searchsorted(view.times, subscription.sent_until, side="right"))
        if first == last and subscription.begun:
            return
        subscription.begun = True
        if last:
            subscription.sent_until = int(view.times[-1])
        frame = self._server.frame_since(subscription.condition, first, last)
        if frame.bits.size > limits.SAMPLES_PER_MESSAGE // 10:
            made = await asyncio.to_thread(subscription.columns.messages, frame, complete=True)
        else:
            made = subscription.columns.messages(frame, complete=True)
        for message in made:
            await self._send(message)

    async def _send_states(self, subscription: Subscription) -> None:
        known, subscription.begun = subscription.begun, True
        newest = {state.key: state for state in self._server.view().states(subscription.condition)}
        changed = [state for key, state in newest.items() if subscription.states.get(key) != state]
        subscription.states = newest
        if changed or not known:
            listed = tuple((encode_key(s.key), s.since, s.text, s.seen_at) for s in changed)
            await self._send(messages.States(subscription.number, listed))

    async def _send(self, message: messages.Message) -> None:
        if self._socket.unsent_bytes > limits.UNSENT_BYTES_MAX:
            raise TimeoutError
        async with asyncio.timeout(limits.SEND_S):
            await self._socket.send(messages.encode(message))


def _now_ms() -> int:
    return int(time.time() * 1000)
