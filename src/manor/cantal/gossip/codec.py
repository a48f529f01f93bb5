"""Packets as datagrams: a short header, then a CBOR map, checked by CRC-32C or sealed with the cluster key.

    offset  bytes  what
    0       2      CA 47
    2       1      version, 1
    3       1      flags; bit 0: sealed
    4       4      unsealed: CRC-32C of the payload, big endian; then the payload
    4       1+24   sealed: key number and nonce; then the payload under XChaCha20-Poly1305 with bytes 0-4 authenticated

The payload is one CBOR map in deterministic encoding with one-letter names; addresses travel packed, four or sixteen
bytes and the port. What others send is checked in full before it becomes an object: `decode` returns a packet or a
refusal, and never raises on bad bytes.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import Any, Final

import cbor2
import crc32c

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.messages import (
    Body,
    Digest,
    DigestDiff,
    Direction,
    Entry,
    IndirectPong,
    Leave,
    Nack,
    News,
    Packet,
    Ping,
    PingReq,
    Pong,
    Record,
    Report,
    State,
    SyncPage,
    SyncRequest,
    Update,
    incarnation_of,
    rank_of,
    state_of,
)
from manor.trust.errors import BadSeal
from manor.trust.keys import PurposeKeys

MAGIC: Final = b"\xca\x47"
VERSION: Final = 1
SEALED: Final = 1
HEADER_BYTES: Final = 4


class Refusal(Enum):
    """Why a datagram is no packet of ours; each has its counter."""

    BAD_PACKET = "bad_packet"
    BAD_SEAL = "bad_seal"


class _Malformed(Exception):
    """Not what the format says."""


@dataclass(frozen=True, slots=True)
class Codec:
    """With keys, packets are sealed and unsealed ones are refused; without, the other way round."""

    keys: PurposeKeys | None

    def encode(self, packet: Packet) -> bytes:
        payload = encode_payload(packet)
        header = MAGIC + bytes([VERSION, SEALED if self.keys is not None else 0])
        if self.keys is None:
            return header + crc32c.crc32c(payload).to_bytes(4, "big") + payload
        number = bytes([self.keys.keys[0].number])
        return header + self.keys.seal(header + number, payload)

    def decode(self, datagram: bytes) -> Packet | Refusal:
        if len(datagram) > bounds.RECEIVED_BYTES_MAX or len(datagram) < HEADER_BYTES + 5:
            return Refusal.BAD_PACKET
        if datagram[:2] != MAGIC or datagram[2] != VERSION:
            return Refusal.BAD_PACKET
        if (datagram[3] == SEALED) != (self.keys is not None):
            return Refusal.BAD_SEAL
        if self.keys is not None:
            try:
                payload = self.keys.open(datagram[: HEADER_BYTES + 1], datagram[HEADER_BYTES:])
            except BadSeal:
                return Refusal.BAD_SEAL
        else:
            payload = datagram[HEADER_BYTES + 4 :]
            if datagram[3] != 0 or crc32c.crc32c(payload) != int.from_bytes(datagram[4:8], "big"):
                return Refusal.BAD_PACKET
        try:
            return decode_payload(payload)
        except _Malformed:
            return Refusal.BAD_PACKET


def encode_payload(packet: Packet) -> bytes:
    kind, fields = _BODIES_OUT[type(packet.body)](packet.body)
    document: dict[str, Any] = {
        "c": packet.cluster,
        "f": packet.sender,
        "s": packet.start,
        "n": packet.counter,
        "t": kind,
        "b": fields,
    }
    if packet.updates:
        document["u"] = [_update_out(update) for update in packet.updates]
    if packet.records:
        document["r"] = [_entry_out(entry) for entry in packet.records]
    if packet.wanted:
        document["w"] = list(packet.wanted)
    if packet.your_rank is not None:
        document["y"] = [incarnation_of(packet.your_rank), packet.your_rank & 7]
    return cbor2.dumps(document, canonical=True)


def decode_payload(payload: bytes) -> Packet:
    """Raises _Malformed for anything a correct sender would not have made."""
    if _depth_of(payload) > bounds.DEPTH_MAX:
        raise _Malformed("too deep")
    source = BytesIO(payload)
    try:
        document = cbor2.CBORDecoder(source).decode()
    except Exception as error:  # whatever the decoder thinks of bytes from the network
        raise _Malformed("no CBOR") from error
    if not isinstance(document, dict) or source.tell() != len(payload):
        raise _Malformed("not one map")
    kind = document.get("t")
    decode_body = _BODIES_IN.get(kind) if isinstance(kind, int) else None
    if decode_body is None:
        raise _Malformed("unknown message")
    try:
        yours = document.get("y")
        return Packet(
            cluster=_text(document["c"]),
            sender=_id(document["f"]),
            start=_number(document["s"]),
            counter=_number(document["n"]),
            body=decode_body(document["b"]),
            updates=tuple([_update_in(item) for item in _list(document.get("u", []))]),
            records=tuple([_entry_in(item) for item in _list(document.get("r", []))]),
            wanted=tuple([_id(item) for item in _list(document.get("w", []))]),
            your_rank=None if yours is None else _rank(*_list(yours, 2)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _Malformed(str(error)) from error


# --- the parts ----------------------------------------------------------------------------------------------------


def _update_out(update: Update) -> list[Any]:
    fields = [update.member, incarnation_of(update.rank), update.rank & 7]
    return fields if update.source is None else [*fields, update.source]


def _update_in(item: Any) -> Update:
    fields = _list(item)
    if len(fields) == 3:
        return Update(_id(fields[0]), _rank(fields[1], fields[2]))
    member, incarnation, state, source = fields
    return Update(_id(member), _rank(incarnation, state), _id(source))


def _record_out(record: Record) -> list[Any]:
    return [
        record.id,
        record.incarnation,
        [_packed(address) for address in record.addresses],
        record.host_name,
        record.node_name,
        record.port,
        record.version,
    ]


def _record_in(item: Any) -> Record:
    member, incarnation, addresses, host_name, node_name, port, version = _list(item)
    return Record(
        id=_id(member),
        incarnation=_number(incarnation),
        addresses=tuple([_unpacked(address) for address in _list(addresses)[: bounds.ADDRESSES_MAX]]),
        host_name=_text(host_name),
        node_name=_text(node_name),
        port=_port(port),
        version=_text(version),
    )


def _report_out(report: Report) -> list[Any]:
    return [
        report.peers,
        report.has_remote,
        report.scan_age_ms,
        report.unreachable_count,
        [part for pair in report.unreachable for part in pair],  # flat, to stay within the bound on depth
    ]


def _report_in(item: Any) -> Report:
    peers, has_remote, scan_age_ms, count, unreachable = _list(item)
    flat = _list(unreachable)[: 2 * bounds.UNREACHABLE_SHOWN_MAX]
    return Report(
        peers=_number(peers),
        has_remote=_flag(has_remote),
        scan_age_ms=min(_number(scan_age_ms), int(bounds.AGE_S_MAX * 1000)),
        unreachable_count=_number(count),
        unreachable=tuple(
            [
                (_id(member), int(Direction(_number(direction))))
                for member, direction in zip(flat[::2], flat[1::2], strict=True)
            ]
        ),
    )


def _entry_out(entry: Entry) -> list[Any]:
    head = [
        _record_out(entry.record),
        incarnation_of(entry.rank),
        entry.rank & 7,
        _age(entry.age_ms),
    ]
    if entry.report is None:
        return head
    return [*head, _report_out(entry.report), _age(entry.report_age_ms), entry.roundtrip_ms]


def _entry_in(item: Any) -> Entry:
    fields = _list(item)
    record, incarnation, state, age_ms, *rest = fields
    report, report_age_ms, roundtrip_ms = rest or (None, 0, None)
    return Entry(
        record=_record_in(record),
        rank=_rank(incarnation, state),
        age_ms=_age(_number(age_ms)),
        report=None if report is None else _report_in(report),
        report_age_ms=_age(_number(report_age_ms)),
        roundtrip_ms=None if roundtrip_ms is None else _number(roundtrip_ms),
    )


# --- the bodies: type -> (number, fields), number -> fields -> type ------------------------------------------------


def _ping_out(body: Ping) -> tuple[int, Any]:
    asked_by = None if body.asked_by is None else list(body.asked_by)
    return 1, [body.seq, _record_out(body.record), _report_out(body.report), body.target, asked_by]


def _ping_in(fields: Any) -> Ping:
    seq, record, report, target, asked_by = _list(fields)
    asker = None if asked_by is None else _list(asked_by, 2)
    return Ping(
        _number(seq),
        _record_in(record),
        _report_in(report),
        None if target is None else _id(target),
        None if asker is None else (_id(asker[0]), _number(asker[1])),
    )


def _pong_out(body: Pong) -> tuple[int, Any]:
    return 2, [body.seq, _record_out(body.record), _report_out(body.report), body.pings_seen, body.got_direct]


def _pong_in(fields: Any) -> Pong:
    seq, record, report, pings_seen, got_direct = _list(fields)
    return Pong(_number(seq), _record_in(record), _report_in(report), _number(pings_seen), _flag(got_direct))


def _ping_req_out(body: PingReq) -> tuple[int, Any]:
    return 3, [body.seq, body.target, [_packed(address) for address in body.addresses], body.patience_ms]


def _ping_req_in(fields: Any) -> PingReq:
    seq, target, addresses, patience_ms = _list(fields)
    unpacked = tuple([_unpacked(address) for address in _list(addresses)[: bounds.ADDRESSES_MAX]])
    return PingReq(_number(seq), _id(target), unpacked, _number(patience_ms))


def _indirect_pong_out(body: IndirectPong) -> tuple[int, Any]:
    return 4, [body.seq, body.target, body.got_direct, body.roundtrip_ms]


def _indirect_pong_in(fields: Any) -> IndirectPong:
    seq, target, got_direct, roundtrip_ms = _list(fields)
    return IndirectPong(_number(seq), _id(target), _flag(got_direct), _number(roundtrip_ms))


def _nack_out(body: Nack) -> tuple[int, Any]:
    return 5, [body.seq, body.target]


def _nack_in(fields: Any) -> Nack:
    seq, target = _list(fields)
    return Nack(_number(seq), _id(target))


def _sync_request_out(body: SyncRequest) -> tuple[int, Any]:
    return 6, [body.cursor, body.high]


def _sync_request_in(fields: Any) -> SyncRequest:
    cursor, high = _list(fields)
    return SyncRequest(_edge(cursor), _edge(high))


def _sync_page_out(body: SyncPage) -> tuple[int, Any]:
    return 7, [body.cursor, body.high, [_entry_out(entry) for entry in body.entries], body.next_cursor, body.total]


def _sync_page_in(fields: Any) -> SyncPage:
    cursor, high, entries, next_cursor, total = _list(fields)
    found = tuple([_entry_in(item) for item in _list(entries)])
    return SyncPage(_edge(cursor), _edge(high), found, _edge(next_cursor), _number(total))


def _digest_out(body: Digest) -> tuple[int, Any]:
    return 8, b"".join([number.to_bytes(8, "big") for number in body.hashes])


def _digest_in(fields: Any) -> Digest:
    packed = _bytes(fields, bounds.BUCKETS * 8)
    return Digest(tuple([int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]))


def _digest_diff_out(body: DigestDiff) -> tuple[int, Any]:
    return 9, [_update_out(claim) for claim in body.claims]


def _digest_diff_in(fields: Any) -> DigestDiff:
    return DigestDiff(tuple([_update_in(item) for item in _list(fields)]))


def _news_out(_: News) -> tuple[int, Any]:
    return 10, None


def _news_in(_: Any) -> News:
    return News()


def _leave_out(body: Leave) -> tuple[int, Any]:
    return 11, body.incarnation


def _leave_in(fields: Any) -> Leave:
    return Leave(_number(fields))


_BODIES_OUT: Final[Mapping[type, Callable[[Any], tuple[int, Any]]]] = {
    Ping: _ping_out,
    Pong: _pong_out,
    PingReq: _ping_req_out,
    IndirectPong: _indirect_pong_out,
    Nack: _nack_out,
    SyncRequest: _sync_request_out,
    SyncPage: _sync_page_out,
    Digest: _digest_out,
    DigestDiff: _digest_diff_out,
    News: _news_out,
    Leave: _leave_out,
}
_BODIES_IN: Final[Mapping[int, Callable[[Any], Body]]] = {
    1: _ping_in,
    2: _pong_in,
    3: _ping_req_in,
    4: _indirect_pong_in,
    5: _nack_in,
    6: _sync_request_in,
    7: _sync_page_in,
    8: _digest_in,
    9: _digest_diff_in,
    10: _news_in,
    11: _leave_in,
}


# --- checks -------------------------------------------------------------------------------------------------------


def _list(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or len(value) > bounds.LIST_MAX or (length is not None and len(value) != length):
        raise _Malformed("not such a list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value.encode()) > bounds.TEXT_BYTES_MAX or not value.isprintable():
        raise _Malformed("no such text")
    return value


def _bytes(value: Any, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise _Malformed("no such bytes")
    return value


def _id(value: Any) -> bytes:
    return _bytes(value, 16)


def _edge(value: Any) -> bytes:
    """An end of an id range; empty is none."""
    return b"" if value == b"" else _bytes(value, 16)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**61:
        raise _Malformed("no such number")
    return value


def _port(value: Any) -> int:
    if _number(value) > 65_535:
        raise _Malformed("no port")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Malformed("neither true nor false")
    return value


def _rank(incarnation: Any, state: Any) -> int:
    rank = rank_of(_number(incarnation), State(_number(state)))
    if state_of(rank) is State.UNCONFIRMED:
        raise _Malformed("a state that does not travel")
    return rank


def _age(age_ms: int) -> int:
    return min(max(age_ms, 0), int(bounds.AGE_S_MAX * 1000))


@functools.lru_cache(maxsize=2 * bounds.MEMBERS_MAX)
def _packed(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    return ipaddress.ip_address(host.strip("[]")).packed + int(port).to_bytes(2, "big")


@functools.lru_cache(maxsize=2 * bounds.MEMBERS_MAX)
def _unpacked(packed: Any) -> str:
    if not isinstance(packed, bytes) or len(packed) not in (6, 18):
        raise _Malformed("no address")
    host, port = ipaddress.ip_address(packed[:-2]), int.from_bytes(packed[-2:], "big")
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"


def _depth_of(payload: bytes) -> int:
    """How deeply arrays and maps are nested, found without building anything; _Malformed for what CBOR is not, for
    lists beyond the bound, and for tags and indefinite lengths, which no packet of ours has."""
    at, deepest, open_items = 0, 0, [1]
    end = len(payload)
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            continue
        open_items[-1] -= 1
        if at >= end:
            raise _Malformed("cut short")
        major, short = payload[at] >> 5, payload[at] & 31
        at += 1
        argument = short
        if short >= 24:
            if short > 27:
                raise _Malformed("not of definite length")
            width = 1 << (short - 24)
            argument = int.from_bytes(payload[at : at + width], "big")
            at += width
        if major in (2, 3):
            at += argument
        elif major in (4, 5):
            if argument > bounds.LIST_MAX:
                raise _Malformed("too long a list")
            open_items.append(argument * (major - 3))
            deepest = max(deepest, len(open_items) - 1)
        elif major == 6:
            raise _Malformed("a tag")
    return deepest
