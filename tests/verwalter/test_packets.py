"""Election packets: what is on the wire, what is refused, what came before."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.trust.keys import ClusterKeys, generate_key
from manor.verwalter.election import Ping, Pong, Vote
from manor.verwalter.packets import BODY_BYTES_MAX, BadPacket, Packet, ReplayWindow, decode, encode
from manor.verwalter.schedule import Stamp

KEYS = ClusterKeys.parse(generate_key(), "key").purpose("election")
OTHER_KEYS = ClusterKeys.parse(generate_key(), "key").purpose("election")
STAMP = Stamp(1_773_479_702_000, "ab" * 32, "cd" * 16)


PING = Ping(3)


def packet(message: Ping | Pong | Vote = PING, seq: int = 1, boot: bytes = b"12345678", **changes: object) -> Packet:
    fields: dict[str, object] = {"sender": "ef" * 16, "cluster": "default", "dc": "local", "schedule": STAMP, **changes}
    return Packet(message=message, seq=seq, boot=boot, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [Ping(3), Pong(2**62), Vote(4, "ab" * 16)])
@pytest.mark.parametrize("keys", [None, KEYS])
def test_a_packet_arrives_as_it_was_sent(message: Ping | Pong | Vote, keys: object) -> None:
    sent = packet(message, sealed=keys is not None, errors=7 if isinstance(message, Pong) else 0)
    data = encode(sent, keys)  # type: ignore[arg-type]
    assert data[:2] == bytes([1, keys is not None])
    assert len(data) < 350
    assert decode(data, keys) == sent  # type: ignore[arg-type]


def test_packets_of_another_key_or_none_are_refused() -> None:
    for data, keys, match in (
        (encode(packet(), OTHER_KEYS), KEYS, "key number|was changed"),
        (encode(packet(), None), KEYS, "not sealed"),
        (encode(packet(), KEYS), None, "no cluster key here"),
        (bytes([1, 1]) + b"x" * 30, KEYS, "bytes are the least|sealed packet"),
    ):
        with pytest.raises(BadPacket, match=match):
            decode(data, keys)


def body(**changes: object) -> bytes:
    fields = cbor2.loads(encode(packet(Vote(3, "aa")), None)[2:]) | changes
    return bytes([1, 0]) + cbor2.dumps({key: value for key, value in fields.items() if value is not ...})


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "packet of 0 bytes"),
        (b"\1\0" + b"x" * 600, "packet of 602 bytes"),
        (b"\2\0abc", "version 2"),
        (b"\1\0\xff\xff", "no CBOR|no map"),
        (body() + b"\0", "no map"),
        (body(type="Hello"), "unknown type 'Hello'"),
        (body(epoch=2**62 + 1), "epoch"),
        (body(epoch=-1), "`epoch`"),
        (body(epoch=True), "`epoch`"),
        (body(id=b""), "`id`"),
        (body(target="text"), "`target`"),
        (body(target=...), "`target`"),
        (body(boot=b"1"), "`boot`"),
        (body(seq=1.5), "`seq`"),
        (body(cluster="x" * 33), "`cluster`"),
        (body(schedule=5), "`schedule`"),
        (body(schedule={"hash": b"short"}), "`hash`"),
    ],
)
def test_nonsense_is_refused_with_its_reason(data: bytes, match: str) -> None:
    with pytest.raises(BadPacket, match=match):
        decode(data, None)


@given(st.binary(max_size=600))
def test_no_bytes_from_the_network_do_harm(data: bytes) -> None:
    for keys in (None, KEYS):
        with pytest.raises(BadPacket):
            decode(b"\1\0" + data, keys)


def test_no_packet_grows_beyond_the_limit() -> None:
    with pytest.raises(BadPacket, match=f"{BODY_BYTES_MAX} are the most"):
        encode(packet(cluster="x" * 600), None)


def test_what_came_before_is_not_accepted_again() -> None:
    window = ReplayWindow()
    assert [window.accept(packet(seq=seq)) for seq in (5, 5, 7, 6, 6, 4)] == [True, False, True, True, False, True]
    assert window.accept(packet(seq=200))
    assert not window.accept(packet(seq=100)), "too old to know"
    assert window.accept(packet(seq=137))


def test_a_new_boot_begins_anew_but_not_with_an_older_epoch() -> None:
    window = ReplayWindow()
    assert window.accept(packet(Ping(5), seq=50))
    assert not window.accept(packet(Ping(4), seq=1, boot=b"recorded"))
    assert window.accept(packet(Ping(5), seq=1, boot=b"restart!"))
    assert not window.accept(packet(Ping(5), seq=1, boot=b"restart!"))


@given(st.lists(st.integers(0, 200), max_size=100))
def test_no_number_is_accepted_twice(numbers: list[int]) -> None:
    window = ReplayWindow()
    accepted = [seq for seq in numbers if window.accept(packet(seq=seq))]
    assert len(accepted) == len(set(accepted))
