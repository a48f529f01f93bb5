"""Packets survive the wire, fit into a datagram, and nothing else is taken for one."""

from __future__ import annotations

import cbor2
import crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.codec import Codec, Refusal, encode_payload
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
    rank_of,
)
from manor.trust.keys import ClusterKeys

PLAIN = Codec(None)
SEALED = Codec(ClusterKeys.parse("ab" * 32, "key").purpose("gossip"))

ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, 2**61 - 1)
incarnations = st.integers(1, 2**50)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=60)
addresses = st.builds(
    lambda ip, port: f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}", st.ip_addresses(), st.integers(0, 65535)
)
ranks = st.builds(rank_of, incarnations, st.sampled_from([s for s in State if s]))
records = st.builds(
    Record,
    id=ids,
    incarnation=incarnations,
    addresses=st.lists(addresses, max_size=4).map(tuple),
    host_name=names,
    node_name=names,
    port=st.integers(0, 65535),
    version=names,
    wire_bytes=st.just(0),
)
reports = st.builds(
    Report,
    peers=numbers,
    has_remote=st.booleans(),
    scan_age_ms=st.integers(0, 10**9),
    unreachable_count=st.integers(0, 10**6),
    unreachable=st.lists(st.tuples(ids, st.sampled_from([int(d) for d in Direction])), max_size=8).map(tuple),
)
updates = st.builds(Update, ids, ranks, st.none() | ids)
ages = st.integers(0, 10**9)
entries = st.builds(Entry, records, ranks, ages, reports, ages, st.none() | numbers) | st.builds(
    Entry, records, ranks, ages
)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(Ping, numbers, records, reports, st.none() | ids, st.none() | st.tuples(ids, numbers)),
    st.builds(Pong, numbers, records, reports, numbers, st.booleans()),
    st.builds(PingReq, numbers, ids, st.lists(addresses, max_size=4).map(tuple), numbers),
    st.builds(IndirectPong, numbers, ids, st.booleans(), numbers),
    st.builds(Nack, numbers, ids),
    st.builds(SyncRequest, ids, ids | st.just(b"")),
    st.builds(SyncPage, ids, ids, st.lists(entries, max_size=3).map(tuple), ids | st.just(b""), numbers),
    st.builds(Digest, st.lists(st.integers(0, 2**64 - 1), min_size=64, max_size=64).map(tuple)),
    st.builds(DigestDiff, st.lists(updates, max_size=5).map(tuple)),
    st.just(News()),
    st.builds(Leave, numbers),
)
packets = st.builds(
    Packet,
    cluster=names,
    sender=ids,
    start=numbers,
    counter=numbers,
    body=bodies,
    updates=st.lists(updates, max_size=5).map(tuple),
    records=st.lists(entries, max_size=2).map(tuple),
    wanted=st.lists(ids, max_size=3).map(tuple),
    your_rank=st.none() | ranks,
)


@given(packet=packets)
@settings(max_examples=150, deadline=None)
def test_a_packet_comes_back_as_it_was(packet: Packet) -> None:
    for codec in (PLAIN, SEALED):
        assert codec.decode(codec.encode(packet)) == packet


@given(packet=packets)
@settings(max_examples=100, deadline=None)
def test_a_part_takes_no_more_room_than_the_core_believes(packet: Packet) -> None:
    bare = Packet(packet.cluster, packet.sender, packet.start, packet.counter, News())
    for update in packet.updates:
        with_it = Packet(packet.cluster, packet.sender, packet.start, packet.counter, News(), (update,))
        assert len(encode_payload(with_it)) - len(encode_payload(bare)) <= update.wire_bytes + 5  # and the list
    for entry in packet.records:
        with_entry = Packet(packet.cluster, packet.sender, packet.start, packet.counter, News(), (), (entry,))
        assert len(encode_payload(with_entry)) - len(encode_payload(bare)) <= entry.wire_bytes + 5


@given(noise=st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(noise: bytes) -> None:
    header = b"\xca\x47\x01\x00"
    assert isinstance(PLAIN.decode(noise), Refusal)
    assert isinstance(SEALED.decode(b"\xca\x47\x01\x01" + noise), Refusal)
    with_checksum = header + crc32c.crc32c(noise).to_bytes(4, "big") + noise
    assert isinstance(PLAIN.decode(with_checksum), Refusal)


def _datagram(payload: bytes) -> bytes:
    return b"\xca\x47\x01\x00" + crc32c.crc32c(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81" * 500,  # a list in a list in a list
        b"\x9b" + b"\xff" * 8,  # a list of 2^64 items
        b"\x9f\xff",  # of indefinite length
        cbor2.dumps({"c": "x" * 256, "f": bytes(16), "s": 1, "n": 1, "t": 10, "b": None}),
        cbor2.dumps({"c": "x", "f": bytes(15), "s": 1, "n": 1, "t": 10, "b": None}),
        cbor2.dumps({"c": "x", "f": bytes(16), "s": -1, "n": 1, "t": 10, "b": None}),
        cbor2.dumps({"c": "x", "f": bytes(16), "s": 1, "n": 1, "t": 99, "b": None}),
        cbor2.dumps({"c": "x", "f": bytes(16), "s": 1, "n": 1, "t": 10, "b": None, "u": [[bytes(16), 1, 0]]}),
        cbor2.dumps({"c": "x", "f": bytes(16), "s": 1, "n": 1, "t": 10, "b": None}) + b"\x00",
    ],
)
def test_what_no_agent_would_send_is_refused(payload: bytes) -> None:
    assert PLAIN.decode(_datagram(payload)) is Refusal.BAD_PACKET


def test_a_thousand_addresses_are_cut_to_sixteen() -> None:
    many = tuple(f"10.0.0.{number}:1" for number in range(200))
    record = Record(bytes(16), 1, many, "h", "n", 1, "v")
    decoded = PLAIN.decode(PLAIN.encode(Packet("c", bytes(16), 1, 1, Pong(1, record, Report()))))
    assert isinstance(decoded, Packet)
    assert isinstance(decoded.body, Pong)
    assert decoded.body.record.addresses == many[:16]


def test_sealed_and_clear_packets_do_not_mix() -> None:
    packet = Packet("c", bytes(16), 1, 1, News())
    assert PLAIN.decode(SEALED.encode(packet)) is Refusal.BAD_SEAL
    assert SEALED.decode(PLAIN.encode(packet)) is Refusal.BAD_SEAL
    changed = bytearray(SEALED.encode(packet))
    changed[-1] ^= 1
    assert SEALED.decode(bytes(changed)) is Refusal.BAD_SEAL


def test_the_largest_greeting_fits_into_one_datagram() -> None:
    record = Record(
        bytes(16), 2**60, tuple(f"[fd00::{n:x}:ffff]:22682" for n in range(16)), "h" * 64, "n" * 253, 1, "1.0.0.dev0"
    )
    report = Report(10**4, True, 10**9, 10**4, tuple((bytes([n]) * 16, 1) for n in range(8)))
    ping = Ping(2**60, record, report, bytes(16), (bytes(16), 2**60))
    assert len(encode_payload(Packet("c" * 64, bytes(16), 2**60, 2**60, ping))) <= bounds.PAYLOAD_BYTES_MAX
