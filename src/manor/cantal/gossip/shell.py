"""The socket around the core: datagrams in and out, ticks on time, and who waits for what. No decision is made here."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from manor.cantal import addresses
from manor.cantal.gossip.codec import Codec, Refusal
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.messages import (
    Accused,
    Action,
    DuplicateId,
    HostAnswered,
    HostSilent,
    MemberChanged,
    Send,
)
from manor.cantal.gossip.numbers import RECEIVED_BYTES_MAX

log = logging.getLogger(__name__)

DATAGRAMS_PER_TURN: Final = 64  # then the loop gets a chance to do something else
SOCKET_BUFFER_BYTES: Final = 1 << 20
LOG_EVERY_S: Final = 60.0  # of one source of bad packets
LOGGED_SOURCES_MAX: Final = 1_000
REPLY_ADDRESSES_MAX: Final = 20_000  # local addresses remembered for replies


@dataclass(slots=True)
class ShellCounts:
    """Datagrams that never reached the core, or did not leave."""

    bad_packet: int = 0
    bad_seal: int = 0
    unsent: int = 0
    failed: int = 0  # bugs: logged, and the next packet is looked at


class GossipShell:
    """Drives one core. `now` is the event loop's clock."""

    def __init__(self, core: Gossip, codec: Codec, sock: socket.socket, *, on_failure: Callable[[BaseException], None]):
        self.core = core
        self.codec = codec
        self.counts = ShellCounts()
        self.changes = 0  # grows with every change of the member table
        self._socket = sock
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._listeners: list[Callable[[MemberChanged], None]] = []
        self._logged: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._reply_from: OrderedDict[str, bytes] | None = OrderedDict() if _is_wildcard(sock) else None
        self._before_tick: Callable[[], None] = lambda: None

    def start(self, *, before_tick: Callable[[], None] | None = None) -> None:
        """Begin to listen and to tick. `before_tick` may tell the core of our condition."""
        if before_tick is not None:
            self._before_tick = before_tick
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._schedule()

    def close(self) -> None:
        """No goodbye: a quick restart goes unnoticed."""
        self._loop.remove_reader(self._socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    def listen(self, listener: Callable[[MemberChanged], None]) -> None:
        """Be told of every change of the member table."""
        self._listeners.append(listener)

    def perform(self, actions: Iterable[Action]) -> None:
        """What the core wants done, in its order."""
        for action in actions:
            if isinstance(action, Send):
                self._send(action.target, self.codec.encode(action.packet))
            else:
                self._note(action)
        self._schedule()

    async def add_hosts(self, targets: Iterable[str], wait_s: float) -> bytes | None:
        """Introduce ourselves to addresses of one host; the id that answered first, or None if none did in time."""
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        targets = list(targets)
        for target in targets:
            self._waiting.setdefault(target, []).append(future)
        try:
            for target in targets:
                self.perform(self.core.add_host(target, self._loop.time()))
            if wait_s <= 0:
                return future.result() if future.done() else None
            async with asyncio.timeout(wait_s):
                return await future
        except TimeoutError:
            return None
        finally:
            for target in targets:
                left = [other for other in self._waiting.pop(target, []) if other is not future]
                if left:
                    self._waiting[target] = left

    def wall_ms(self, moment: float) -> int:
        """A moment of the core's clock as milliseconds since 1970."""
        return int(time.time() * 1000 - (self._loop.time() - moment) * 1000)

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, ancillary, _, source = self._socket.recvmsg(RECEIVED_BYTES_MAX + 1, 128)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP error of something sent before
                log.debug("gossip.receive_failed reason=%s", error.strerror)
                continue
            try:
                self._receive(datagram, addresses.join(source[0], source[1]), ancillary)
            except Exception:
                self.counts.failed += 1
                log.exception("gossip.bug source=%s", source)

    def _receive(self, datagram: bytes, source: str, ancillary: list[tuple[int, int, bytes]]) -> None:
        packet = self.codec.decode(datagram)
        if isinstance(packet, Refusal):
            setattr(self.counts, packet.value, getattr(self.counts, packet.value) + 1)
            self._complain(source, packet.value)
            return
        if self._reply_from is not None and ancillary:
            self._reply_from[source] = _reply_ancillary(ancillary[0])
            if len(self._reply_from) > REPLY_ADDRESSES_MAX:
                self._reply_from.popitem(last=False)
        before = self.core.counts.foreign_cluster
        actions = self.core.receive(packet, source, self._loop.time())
        if self.core.counts.foreign_cluster != before:
            self._complain(source, "foreign_cluster")
        self.perform(actions)

    def _complain(self, source: str, reason: str) -> None:
        """Once a minute for each source; the counters have the rest."""
        now = self._loop.time()
        key = (source.rpartition(":")[0], reason)
        if now - self._logged.get(key, -LOG_EVERY_S) < LOG_EVERY_S:
            return
        self._logged[key] = now
        self._logged.move_to_end(key)
        if len(self._logged) > LOGGED_SOURCES_MAX:
            self._logged.popitem(last=False)
        meaning = {
            "bad_seal": "not sealed with our cluster key",
            "bad_packet": "no gossip of this version",
            "foreign_cluster": "of another cluster",
        }[reason]
        log.warning("gossip.refused source=%s reason=%s: the packet is %s", source, reason, meaning)

    def _send(self, target: str, datagram: bytes) -> None:
        try:
            destination = _destination(self._socket.family, target)
            ancillary = self._reply_from.get(target) if self._reply_from is not None else None
            if ancillary is None:
                self._socket.sendto(datagram, destination)
            else:
                level, kind = _pktinfo(self._socket.family)
                self._socket.sendmsg([datagram], [(level, kind, ancillary)], 0, destination)
        except OSError as error:  # unreachable, full buffers, no such family: as if lost on the way
            self.counts.unsent += 1
            log.debug("gossip.send_failed target=%s reason=%s", target, error.strerror)

    def _note(self, action: Action) -> None:
        if isinstance(action, MemberChanged):
            self.changes += 1
            before = action.before.name.lower() if action.before is not None else "unknown"
            after = action.after.name.lower() if action.after is not None else "forgotten"
            log.info("gossip.member id=%s before=%s after=%s", action.member.hex(), before, after)
            for listener in self._listeners:
                listener(action)
        elif isinstance(action, HostAnswered):
            for future in self._waiting.get(action.address, ()):
                if not future.done():
                    future.set_result(action.member)
        elif isinstance(action, HostSilent):
            log.warning("gossip.host_silent address=%s: no answer to any try", action.address)
        elif isinstance(action, DuplicateId):
            log.warning(
                "gossip.duplicate_machine_id id=%s address=%s: another machine uses this id; give each its own",
                self.core.record.id.hex(),
                action.address,
            )
        elif isinstance(action, Accused):
            log.info("gossip.accused heard=%s incarnation=%d", action.heard.name.lower(), action.incarnation)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.core.left:
            self._timer = self._loop.call_at(self.core.wake_at, self._tick)

    def _tick(self) -> None:
        try:
            self._before_tick()
            self.perform(self.core.tick(self._loop.time()))
        except Exception as error:
            self._on_failure(error)


def open_socket(host: addresses.IpAddress, port: int) -> socket.socket:
    """A bound UDP socket.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        if host.is_unspecified:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind((str(host), port))
    except OSError:
        sock.close()
        raise
    return sock


_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # named by Python from 3.14 on


def _is_wildcard(sock: socket.socket) -> bool:
    return sock.getsockname()[0] in ("0.0.0.0", "::")


def _pktinfo(family: int) -> tuple[int, int]:
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
    return socket.IPPROTO_IP, _IP_PKTINFO


def _reply_ancillary(item: tuple[int, int, bytes]) -> bytes:
    """The packet information to send a reply with, so that it leaves from the address the request came to."""
    _, kind, data = item
    if kind == _IP_PKTINFO and len(data) == 12:
        _interface, _spec, came_to = struct.unpack("=I4s4s", data)
        return struct.pack("=I4s4s", 0, came_to, bytes(4))
    return data


def _destination(family: int, target: str) -> tuple[str, int]:
    ip, port = addresses.split(target)
    if family == socket.AF_INET6 and ":" not in ip:
        return f"::ffff:{ip}", port
    if family == socket.AF_INET and ":" in ip:
        raise OSError(errno.EAFNOSUPPORT, "an IPv6 address cannot be reached from an IPv4 socket")
    return ip, port
