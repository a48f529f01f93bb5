"""The asker's connection to one member: made again when it breaks, filled from the member's own hour when it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from manor.cantal.remote import limits, messages
from manor.cantal.remote.auth import Handshake, new_nonce
from manor.cantal.remote.limits import PATH, SUBPROTOCOL
from manor.cantal.remote.messages import (
    Auth,
    BadMessage,
    Beacon,
    Data,
    Error,
    Hello,
    Keys,
    States,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from manor.cantal.remote.ticks import Received
from manor.cantal.remote.wanted import Wish
from manor.cantal.store.keys import decode_key
from manor.cantal.store.states import StateSample
from manor.config.errors import ManorError
from manor.trust.keys import PurposeKeys

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

log = logging.getLogger(__name__)

BEACONS_MISSED: Final = 3


class PeerRefused(ManorError):
    """the member does not prove that it has our cluster key"""


class Link:
    """One member. `run` connects again and again until it is cancelled."""

    def __init__(
        self,
        member: bytes,
        address: str,
        *,
        own_id: bytes,
        keys: PurposeKeys | None,
        wishes: Callable[[], Iterable[Wish]],
        changed: Callable[[], None],
        wrong_id: Callable[[bytes, str], None],
    ) -> None:
        """
        Args:
            wishes: what is wanted now.
            changed: called when something came.
            wrong_id: somebody else lives at the address.
        """
        self.member = member
        self.address = address
        self.connected = False
        self.hello: Hello | None = None
        self.last_beacon: Beacon | None = None
        self.beacon_at_ms: int | None = None
        self.last_attempt: tuple[int, str] | None = None
        self.skew_ms = 0  # the member's clock minus ours
        self.ticks: dict[int, Received] = {}  # by number of the wish
        self.states: dict[int, dict[Any, StateSample]] = {}
        self.errors: dict[int, str] = {}
        self._own_id = own_id
        self._keys = keys
        self._wishes = wishes
        self._changed = changed
        self._wrong_id = wrong_id
        self._socket: ClientWebSocketResponse | None = None
        self._subscribed: set[int] = set()
        self._newest_heard_at = 0.0

    def has(self, wish: Wish) -> bool:
        """Has the member delivered its back-fill?"""
        if wish.source == "Tip":
            return wish.number in self.states
        received = self.ticks.get(wish.number)
        return received is not None and received.complete

    def silent_s(self) -> float:
        return time.monotonic() - self._newest_heard_at

    async def run(self, session: ClientSession, handshakes: asyncio.Semaphore) -> None:
        first, longest = limits.RECONNECT_S
        pause_s = first
        low, high = limits.FIRST_CONNECTIONS_MS
        await asyncio.sleep(random.uniform(low, high) / 1000)
        while True:
            try:
                await self._connect(session, handshakes)
            except Exception as error:
                self._attempted(_reason(error))
            if self.hello is not None and self._was_connected:
                pause_s = first
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, longest)

    _was_connected = False

    async def _connect(self, session: ClientSession, handshakes: asyncio.Semaphore) -> None:
        """One connection, from its making to its end."""
        self._was_connected = False
        async with handshakes, asyncio.timeout(limits.HANDSHAKE_S):
            socket = await session.ws_connect(
                f"http://{self.address}{PATH}",
                protocols=(SUBPROTOCOL,),
                max_msg_size=limits.MESSAGE_BYTES_MAX,
                autoping=True,
            )
            try:
                await self._shake_hands(socket)
            except BaseException:
                await socket.close()
                raise
        try:
            self._socket, self.connected, self._was_connected = socket, True, True
            self._newest_heard_at = time.monotonic()
            self._attempted("connected")
            for received in self.ticks.values():
                received.connect_again()
            self._subscribed.clear()
            await self.update()
            self._changed()
            await self._read(socket)
        finally:
            self._socket, self.connected = None, False
            await socket.close()
            self._changed()

    async def _shake_hands(self, socket: ClientWebSocketResponse) -> None:
        hello = messages.decode(await socket.receive_bytes())
        if not isinstance(hello, Hello):
            raise BadMessage("a hello was expected")
        if hello.id != self.member:
            self._wrong_id(self.member, self.address)
            await socket.close(code=limits.CLOSE_WRONG_ID)
            raise PeerRefused(f"another agent answers at {self.address}: {hello.id.hex()}")
        nonce = new_nonce()
        hands = Handshake(server_id=hello.id, server_nonce=hello.nonce, client_id=self._own_id, client_nonce=nonce)
        await socket.send_bytes(messages.encode(Auth(self._own_id, nonce, hands.proof(self._keys, by_server=False))))
        welcome = messages.decode(await socket.receive_bytes())
        if not isinstance(welcome, Welcome) or not hands.accepts(self._keys, welcome.mac, by_server=True):
            await socket.close(code=limits.CLOSE_NOT_AUTHORISED)
            raise PeerRefused("the member does not prove that it has our cluster key")
        self.hello = hello
        self._note_clock(hello.clock)

    async def update(self) -> None:
        """Tell the member what is wanted now and what no longer is."""
        socket = self._socket
        if socket is None:
            return
        wanted = {wish.number: wish for wish in self._wishes()}
        for number in [number for number in self._subscribed if number not in wanted]:
            self._subscribed.discard(number)
            await socket.send_bytes(messages.encode(Unsubscribe(number)))
        for number in [number for number in self.ticks if number not in wanted]:
            del self.ticks[number]
        for number in [number for number in self.states if number not in wanted]:
            del self.states[number]
        for number, wish in wanted.items():
            if number in self._subscribed:
                continue
            self._subscribed.add(number)
            since = None
            if wish.source == "Tip":
                self.states.pop(number, None)
            else:
                received = self.ticks.setdefault(number, Received(wish.ticks))
                since = received.newest_tick or None
            await socket.send_bytes(
                messages.encode(Subscribe(number, wish.source, wish.condition, ticks=wish.ticks, since=since))
            )

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        """Until the connection ends, or nothing was heard for too long."""
        assert self.hello is not None
        silence_s = max(limits.SILENCE_S, BEACONS_MISSED * self.hello.interval / 1000)
        while True:
            async with asyncio.timeout(silence_s):
                data = await socket.receive_bytes()
            self._newest_heard_at = time.monotonic()
            self._take(messages.decode(data))

    def _take(self, message: messages.Message) -> None:
        if isinstance(message, Keys | Data):
            received = self.ticks.get(message.sub)
            if received is None:
                return  # of a subscription that has just ended
            if isinstance(message, Keys):
                received.name(message)
            else:
                received.add(message)
                self._changed()
        elif isinstance(message, States):
            self._take_states(message)
        elif isinstance(message, Beacon):
            self.last_beacon, self.beacon_at_ms = message, int(time.time() * 1000)
            self._note_clock(message.clock)
        elif isinstance(message, Error):
            self.errors[message.sub] = message.text
            log.warning("peer.refused_subscription id=%s reason=%s", self.member.hex(), message.text)
        else:
            raise BadMessage(f"`{message.type}` is not for an asker")

    def _take_states(self, message: States) -> None:
        if message.sub not in self._subscribed:
            return
        known = self.states.setdefault(message.sub, {})
        for key, since, text, seen_at in message.states:
            try:
                decoded = decode_key(key)
            except Exception as error:  # the decoder's opinion of foreign bytes
                raise BadMessage("states: not a key") from error
            known[decoded] = StateSample(decoded, since, text, seen_at)
        self._changed()

    def _note_clock(self, clock_ms: int) -> None:
        self.skew_ms = clock_ms - int(time.time() * 1000)

    def _attempted(self, text: str) -> None:
        self.last_attempt = int(time.time() * 1000), text


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
