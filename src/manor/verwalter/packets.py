"""Election packets: bytes on the wire, and who may still say what.

    offset  bytes  what
    0       1      0x01, the version
    1       1      flags; bit 0: sealed
    2       n      body: a CBOR map; sealed: key number, nonce and ciphertext of it as `trust` makes them, with the
                   first two bytes as associated data

Keys of the map: `type`, `id`, `epoch`, `cluster`, `dc`, `boot`, `seq`, `schedule`; in a Vote `target`, in a Pong
`errors`.
What was recorded can be sent again by anybody: `ReplayWindow` drops what came before.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from manor.config.errors import ManorError
from manor.trust.errors import BadSeal
from manor.trust.keys import PurposeKeys
from manor.verwalter.election.messages import Message, NodeId, Ping, Pong, Vote
from manor.verwalter.election.numbers import EPOCH_MAX
from manor.verwalter.schedule import Stamp

VERSION: Final = 0x01
SEALED: Final = 0x01
BODY_BYTES_MAX: Final = 512  # before sealing; a Pong has about 230
PACKET_BYTES_MAX: Final = BODY_BYTES_MAX + 2 + 41  # the seal's own bytes
WINDOW: Final = 64  # packets of one sender that may overtake each other
NAME_BYTES_MAX: Final = 32
SENDERS_MAX: Final = 10_000


class BadPacket(ManorError):
    """packet of 3 bytes; or: version 7; or: body is no map. Counted, logged once a minute per source."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One message with what rides on it."""

    sender: NodeId
    message: Message
    cluster: str
    dc: str
    boot: bytes
    seq: int
    schedule: Stamp | None = None
    errors: int = 0
    sealed: bool = False


def encode(packet: Packet, keys: PurposeKeys | None) -> bytes:
    """Raises BadPacket if it would be too long, which only absurd names can make it."""
    body: dict[str, Any] = {
        "type": type(packet.message).__name__,
        "id": bytes.fromhex(packet.sender),
        "epoch": packet.message.epoch,
        "cluster": packet.cluster,
        "dc": packet.dc,
        "boot": packet.boot,
        "seq": packet.seq,
        "schedule": _schedule(packet.schedule),
    }
    if isinstance(packet.message, Vote):
        body["target"] = bytes.fromhex(packet.message.target)
    elif isinstance(packet.message, Pong):
        body["errors"] = packet.errors
    plain = cbor2.dumps(body)
    if len(plain) > BODY_BYTES_MAX:
        raise BadPacket(f"packet of {len(plain)} bytes; {BODY_BYTES_MAX} are the most")
    if keys is None:
        return bytes((VERSION, 0)) + plain
    header = bytes((VERSION, SEALED))
    return header + keys.seal(header, plain)


def decode(data: bytes, keys: PurposeKeys | None) -> Packet:
    """Raises BadPacket. With keys only sealed packets are accepted, without keys only open ones."""
    if len(data) < 3 or len(data) > PACKET_BYTES_MAX:
        raise BadPacket(f"packet of {len(data)} bytes")
    if data[0] != VERSION:
        raise BadPacket(f"version {data[0]}; {VERSION} is spoken here")
    sealed = bool(data[1] & SEALED)
    if sealed != (keys is not None):
        raise BadPacket("sealed, but there is no cluster key here" if sealed else "not sealed")
    plain = data[2:]
    if keys is not None:
        try:
            plain = keys.open(data[:2], data[2:])
        except BadSeal as error:
            raise BadPacket(str(error)) from error
    return _read(_load(plain), sealed)


def _load(plain: bytes) -> dict[str, Any]:
    stream = io.BytesIO(plain)
    try:
        body = cbor2.load(stream)
    except Exception as error:  # whatever the decoder thinks of bytes from the network
        raise BadPacket(f"body is no CBOR: {error}") from error
    if not isinstance(body, dict) or stream.read(1):
        raise BadPacket("body is no map")
    return body


def _read(body: dict[str, Any], sealed: bool) -> Packet:
    boot, seq = _bytes(body, "boot", 8, 8), _number(body, "seq")
    return Packet(
        sender=_bytes(body, "id", 1, 32).hex(),
        message=_message(body),
        cluster=_text(body, "cluster"),
        dc=_text(body, "dc"),
        boot=boot,
        seq=seq,
        schedule=_stamp(body.get("schedule")),
        errors=_number(body, "errors") if "errors" in body else 0,
        sealed=sealed,
    )


def _message(body: dict[str, Any]) -> Message:
    epoch = _number(body, "epoch")
    if epoch > EPOCH_MAX:
        raise BadPacket(f"epoch {epoch}")
    match body.get("type"):
        case "Ping":
            return Ping(epoch)
        case "Pong":
            return Pong(epoch)
        case "Vote":
            return Vote(epoch, _bytes(body, "target", 1, 32).hex())
        case other:
            raise BadPacket(f"unknown type {str(other)[:40]!r}")


def _schedule(stamp: Stamp | None) -> dict[str, Any] | None:
    if stamp is None:
        return None
    return {"timestamp": stamp.timestamp, "hash": bytes.fromhex(stamp.hash), "origin": bytes.fromhex(stamp.origin)}


def _stamp(value: Any) -> Stamp | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadPacket("`schedule` is no map")
    hash, origin = _bytes(value, "hash", 32, 32), _bytes(value, "origin", 1, 32)
    return Stamp(_number(value, "timestamp"), hash.hex(), origin.hex())


def _bytes(body: dict[str, Any], key: str, least: int, most: int) -> bytes:
    value = body.get(key)
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise BadPacket(f"`{key}` is not {least} to {most} bytes")
    return value


def _number(body: dict[str, Any], key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise BadPacket(f"`{key}` is no number")
    return value


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or len(value.encode(errors="replace")) > NAME_BYTES_MAX:
        raise BadPacket(f"`{key}` is no short text")
    return value


@dataclass(slots=True)
class _Seen:
    boot: bytes
    epoch: int
    highest: int
    mask: int  # bit n: `highest - n` came


class ReplayWindow:
    """Per sender and boot the last 64 numbers. A new boot is believed only with an epoch that is not older."""

    def __init__(self) -> None:
        self._seen: dict[NodeId, _Seen] = {}

    def accept(self, packet: Packet) -> bool:
        """Whether this packet is new; remembers it if so."""
        seen = self._seen.get(packet.sender)
        epoch = packet.message.epoch
        if seen is None or seen.boot != packet.boot:
            if seen is not None and epoch < seen.epoch:
                return False
            if seen is None and len(self._seen) >= SENDERS_MAX:
                return False
            self._seen[packet.sender] = _Seen(packet.boot, epoch, packet.seq, 1)
            return True
        seen.epoch = max(seen.epoch, epoch)
        if packet.seq > seen.highest:
            seen.mask = (seen.mask << min(packet.seq - seen.highest, WINDOW) | 1) & (2**WINDOW - 1)
            seen.highest = packet.seq
            return True
        behind = seen.highest - packet.seq
        if behind >= WINDOW or seen.mask >> behind & 1:
            return False
        seen.mask |= 1 << behind
        return True
