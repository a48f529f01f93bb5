import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from manor.trust.errors import BadSeal, KeyFileError
from manor.trust.keys import SEAL_OVERHEAD, ClusterKeys, generate_key

OLD = "00" * 32
NEW = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="  # 32 bytes of 01


def gossip(*lines: str):
    return ClusterKeys.parse("\n".join(lines), "cluster.key").purpose("gossip")


def test_the_purpose_key_is_blake2b_keyed_with_the_cluster_key_over_the_purpose() -> None:
    keys = gossip(OLD)
    assert keys.keys[0].secret == hashlib.blake2b(b"manor:gossip", key=bytes(32), digest_size=32).digest()
    assert keys.keys[0].secret.hex() == "62f7fbc8c0248851874c08d380e649fd763797b67d098c3af62b94da5242916e"


def test_hex_and_base64_lines_comments_and_blank_lines_are_read() -> None:
    keys = gossip("# made on monday", "", f"  {NEW}  # the new one", OLD)
    assert [key.number for key in keys.keys] == [hashlib.blake2b(bytes([n]) * 32).digest()[0] for n in (1, 0)]


@given(header=st.binary(max_size=20), plain=st.binary(max_size=2000))
def test_what_was_sealed_opens_again(header: bytes, plain: bytes) -> None:
    keys = gossip(OLD)
    sealed = keys.seal(header, plain)
    assert len(sealed) == len(plain) + SEAL_OVERHEAD
    assert keys.open(header, sealed) == plain


@given(plain=st.binary(max_size=100), data=st.data())
def test_any_changed_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    keys = gossip(OLD)
    sealed = bytearray(keys.seal(b"CA", plain))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSeal):
        keys.open(b"CA", bytes(sealed))


def test_the_sealed_form_is_key_number_nonce_ciphertext() -> None:
    keys, header = gossip(OLD), b"\xca\x47\x01\x01"
    nonce = bytes(range(24))
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(b"ping", header, nonce, keys.keys[0].secret)
    assert hashlib.blake2b(bytes(32)).digest()[0] == 0x9A
    assert keys.open(header, b"\x9a" + nonce + ciphertext) == b"ping"


def test_a_changed_clear_header_is_noticed() -> None:
    keys = gossip(OLD)
    with pytest.raises(BadSeal, match="the packet was changed"):
        keys.open(b"\x01\x00", keys.seal(b"\x01\x01", b"vote"))


def test_a_packet_of_another_purpose_or_cluster_does_not_open() -> None:
    cluster = ClusterKeys.parse(OLD, "cluster.key")
    sealed = cluster.purpose("gossip").seal(b"", b"hello")
    with pytest.raises(BadSeal):
        cluster.purpose("election").open(b"", sealed)
    with pytest.raises(BadSeal, match="no key with its number"):
        gossip(NEW).open(b"", sealed)


@pytest.mark.parametrize("length", range(SEAL_OVERHEAD))
def test_a_packet_too_short_to_be_sealed_is_refused(length: int) -> None:
    with pytest.raises(BadSeal, match="are the least"):
        gossip(OLD).open(b"", bytes(length))


def test_two_seals_of_the_same_packet_differ() -> None:
    keys = gossip(OLD)
    assert keys.seal(b"", b"beat") != keys.seal(b"", b"beat")


def test_no_packet_is_lost_while_the_key_is_changed_node_by_node() -> None:
    steps = [gossip(OLD), gossip(OLD, NEW), gossip(NEW, OLD), gossip(NEW)]
    for before, after in pairwise(steps):
        assert after.open(b"", before.seal(b"", b"from a node not yet changed")) is not None
        assert before.open(b"", after.seal(b"", b"from a node already changed")) is not None


def test_a_code_is_good_for_its_data_its_purpose_and_every_key_of_the_file() -> None:
    mac = gossip(OLD).mac(b"nonces")
    assert gossip(NEW, OLD).verify_mac(b"nonces", mac)
    assert not gossip(NEW).verify_mac(b"nonces", mac)
    assert not gossip(OLD).verify_mac(b"other nonces", mac)
    assert not ClusterKeys.parse(OLD, "k").purpose("peer").verify_mac(b"nonces", mac)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# ok\n  hunter2\n", "k:2:3: this is no key; 32 bytes in base64 or hex would be right"),
        (OLD[:-2], "k:1:1: this is no key; 32 bytes in base64 or hex would be right"),
        (f"{OLD}\n{OLD}", "k:2:1: this key is here twice; each key once would be right"),
        ("\n# nothing\n", "k:1:1: no key in this file; `verwalter-ctl key generate` prints one"),
    ],
)
def test_a_bad_key_file_is_named_with_its_position_and_without_the_secret(text: str, message: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        ClusterKeys.parse(text, "k")
    assert str(caught.value) == message


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    path.write_text(generate_key())
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"others may read or write it \(mode 0640\); `chmod 0600"):
        ClusterKeys.read(path)
    path.chmod(0o400)
    assert ClusterKeys.read(path).purpose("gossip").keys


def test_a_missing_key_file_and_a_directory_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read: No such file or directory"):
        ClusterKeys.read(tmp_path / "none")
    with pytest.raises(KeyFileError, match="is not a regular file"):
        ClusterKeys.read(tmp_path)


def test_keys_do_not_show_in_representations() -> None:
    keys = ClusterKeys.parse(OLD, "k")
    assert "00000000" not in repr(keys)
    assert keys.purpose("gossip").keys[0].secret.hex() not in repr(keys.purpose("gossip"))
    assert repr(keys.purpose("gossip").keys[0].secret) not in repr(keys.purpose("gossip"))
