"""The cluster key: who belongs to the cluster. Purpose keys, sealed packets, message authentication codes.

Theory of operation. `/etc/manor/cluster.key` holds one secret of 32 bytes a line. From each of them a key is derived
for each purpose (BLAKE2b keyed with the secret over `manor:PURPOSE`), so that a packet of one protocol means nothing
in another. The first line seals and signs, all lines are accepted: a new key is added to every node as second line,
then made the first everywhere, then the old one is taken away, and no packet is lost meanwhile.

A sealed packet, after whatever clear header its protocol has:

    offset  bytes  what
    0       1      key number: first byte of the BLAKE2b (64 bytes, no key) of the cluster key, to find the right line
    1       24     nonce, random: with 192 bits no counter has to be kept
    25      n+16   XChaCha20-Poly1305 (IETF) of the plain text, the clear header as associated data

What was recorded can be sent again by anybody: replay windows belong to each protocol, which knows its counters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from manor.config.errors import Position
from manor.trust.errors import BadSeal, KeyFileError
from manor.trust.private_file import read_private_file

CLUSTER_KEY_FILE: Final = Path("/etc/manor/cluster.key")

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
MAC_BYTES: Final = 32
SEAL_OVERHEAD: Final = 1 + NONCE_BYTES + TAG_BYTES  # bytes a sealed packet is longer than its plain text
KEY_FILE_BYTES_MAX: Final = 64 * 1024
KEYS_MAX: Final = 16  # a rotation needs two; each wrong packet may cost one try per key with its number

_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True, slots=True)
class PurposeKey:
    """What one line of the key file is for one purpose."""

    number: int  # 0..255, of the cluster key, so the same for all purposes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PurposeKeys:
    """The keys of one purpose: the first seals and signs, all are accepted."""

    keys: tuple[PurposeKey, ...]

    def seal(self, header: bytes, plain: bytes) -> bytes:
        """Key number, nonce and ciphertext; `header` travels in the clear before it and cannot be changed."""
        key = self.keys[0]
        nonce = secrets.token_bytes(NONCE_BYTES)
        return (
            bytes([key.number]) + nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, header, nonce, key.secret)
        )

    def open(self, header: bytes, sealed: bytes) -> bytes:
        """The plain text.

        Raises:
            BadSeal: too short, of no key we have, or header or content were changed.
        """
        if len(sealed) < SEAL_OVERHEAD:
            raise BadSeal(f"sealed packet of {len(sealed)} bytes; {SEAL_OVERHEAD} are the least")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        candidates = [key for key in self.keys if key.number == sealed[0]]
        for key in candidates:  # two keys may have one number, once in 256 pairs
            try:
                return crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, header, nonce, key.secret)
            except CryptoError:
                continue
        reason = "the packet was changed" if candidates else "no key with its number is in the key file"
        raise BadSeal(f"sealed packet with key number {sealed[0]} does not open; {reason}")

    def mac(self, data: bytes) -> bytes:
        """32 bytes that only this cluster can make for this purpose and this data."""
        return _mac(self.keys[0].secret, data)

    def verify_mac(self, data: bytes, mac: bytes) -> bool:
        """Was it made by any of our keys? Takes the same time wherever the first difference is."""
        matches = [hmac.compare_digest(_mac(key.secret, data), mac) for key in self.keys]
        return any(matches)


class ClusterKeys:
    """All keys of the key file, in its order. Never printed, never compared, only derived from."""

    __slots__ = ("_secrets", "purpose")

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        assert secrets_ and all(len(secret) == KEY_BYTES for secret in secrets_)
        self._secrets = tuple(secrets_)
        self.purpose = cache(self._derive)  # derived once: packets come by the thousand

    @classmethod
    def read(cls, path: Path = CLUSTER_KEY_FILE) -> ClusterKeys:
        """The keys of a file.

        Raises:
            KeyFileError: not there, readable by others, empty, or a line that is no key.
        """
        content = read_private_file(path, bytes_max=KEY_FILE_BYTES_MAX, refused=KeyFileError)
        return cls.parse(content.decode("utf-8", errors="replace"), str(path))

    @classmethod
    def parse(cls, text: str, file: str) -> ClusterKeys:
        """The keys of a file's text; `file` is its name in messages."""
        found: list[bytes] = []
        for number, line in enumerate(text.splitlines(), start=1):
            word = line.partition("#")[0].strip()
            if not word:
                continue
            at = Position(file, number, len(line) - len(line.lstrip()) + 1)
            secret = _decode(word)
            if secret is None:
                raise KeyFileError(f"{at}: this is no key; 32 bytes in base64 or hex would be right")
            if secret in found:
                raise KeyFileError(f"{at}: this key is here twice; each key once would be right")
            found.append(secret)
        if not found:
            raise KeyFileError(f"{file}:1:1: no key in this file; `verwalter-ctl key generate` prints one")
        if len(found) > KEYS_MAX:
            raise KeyFileError(f"{file}:1:1: {len(found)} keys; at most {KEYS_MAX} are accepted")
        return cls(found)

    def _derive(self, purpose: str) -> PurposeKeys:
        return PurposeKeys(
            tuple(
                PurposeKey(
                    number=hashlib.blake2b(secret).digest()[0],
                    secret=hashlib.blake2b(f"manor:{purpose}".encode(), key=secret, digest_size=KEY_BYTES).digest(),
                )
                for secret in self._secrets
            )
        )


def generate_key() -> str:
    """A new line for a key file."""
    return secrets.token_hex(KEY_BYTES)


def _mac(secret: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=secret, digest_size=MAC_BYTES).digest()


def _decode(word: str) -> bytes | None:
    if _HEX.fullmatch(word):
        return bytes.fromhex(word)
    if _BASE64.fullmatch(word):
        try:
            return base64.b64decode(word, validate=True)
        except binascii.Error:
            return None
    return None
