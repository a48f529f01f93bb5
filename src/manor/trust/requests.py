"""Signed HTTP requests between nodes: `Authorization: Manor TIME:NONCE:ID:MAC`.

TIME is milliseconds since 1970 in decimal, NONCE 16 random bytes in hex, ID the sender's id, MAC in hex. The MAC is
over these lines, joined by newlines: `manor-request.1`, method, path with query as sent, TIME, NONCE, ID, the
BLAKE2b (32 bytes, hex) of the body. A request is good for a minute around its TIME and only once.
"""

from __future__ import annotations

import hashlib
import heapq
import re
import secrets
from typing import Final

from manor.trust.errors import BadSignature
from manor.trust.keys import PurposeKeys

SCHEME: Final = "Manor"
WINDOW_S: Final = 60.0  # either way: the clocks of two nodes may differ that much
NONCE_BYTES: Final = 16
NONCES_MAX: Final = 200_000  # 1,000 nodes sending one request a second, for two windows, and as much again

assert NONCES_MAX >= 1_000 * 2 * WINDOW_S

_HEADER: Final = re.compile(r"Manor (\d{1,15}):([0-9a-f]{32}):([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})")


def sign(
    keys: PurposeKeys, *, method: str, path: str, body: bytes, node_id: str, now: float, nonce: bytes | None = None
) -> str:
    """The value of `Authorization` for one request.

    Args:
        path: as it stands in the request line, with the query.
        node_id: 1 to 64 letters, digits, dots, underscores and dashes.
        now: seconds since 1970.
        nonce: 16 bytes, for tests only; random if not given.
    """
    sent_at = str(int(now * 1000))
    nonce_text = (nonce if nonce is not None else secrets.token_bytes(NONCE_BYTES)).hex()
    mac = keys.mac(_signed(method, path, sent_at, nonce_text, node_id, body))
    value = f"{SCHEME} {sent_at}:{nonce_text}:{node_id}:{mac.hex()}"
    assert _HEADER.fullmatch(value), f"node id `{node_id}` cannot be signed with"
    return value


class RequestVerifier:
    """Remembers what it has seen, so keep one per server; only requests that verified take memory."""

    def __init__(self, keys: PurposeKeys) -> None:
        self._keys = keys
        self._seen: set[str] = set()
        self._by_age: list[tuple[int, str]] = []  # heap of (TIME, NONCE) of what is in _seen
        self._forgotten_until_ms = 0  # what is older may have been seen: our clock may have been set back

    def verify(self, header: str, *, method: str, path: str, body: bytes, now: float) -> str:
        """The id of the node that signed.

        Raises:
            BadSignature: the reason in one line, fit for the answer.
        """
        match = _HEADER.fullmatch(header)
        if match is None:
            raise BadSignature("not a signed request; `Manor TIME:NONCE:ID:MAC` would be right")
        sent_at, nonce, node_id, mac = match.groups()
        if not self._keys.verify_mac(_signed(method, path, sent_at, nonce, node_id, body), bytes.fromhex(mac)):
            raise BadSignature("wrong signature; both nodes need the same cluster key")
        sent_at_ms, now_ms = int(sent_at), int(now * 1000)
        if abs(sent_at_ms - now_ms) > WINDOW_S * 1000:
            raise BadSignature(
                f"signed {abs(sent_at_ms - now_ms) / 1000:.0f} s from now by our clock; at most 60 s pass"
            )
        self._forget(before_ms=now_ms - int(WINDOW_S * 1000))
        if sent_at_ms < self._forgotten_until_ms or nonce in self._seen:
            raise BadSignature("this request came before; each is good once")
        if len(self._seen) >= NONCES_MAX:
            raise BadSignature(f"more than {NONCES_MAX} signed requests in two minutes; try again later")
        self._seen.add(nonce)
        heapq.heappush(self._by_age, (sent_at_ms, nonce))
        return node_id

    def _forget(self, *, before_ms: int) -> None:
        self._forgotten_until_ms = max(self._forgotten_until_ms, before_ms)
        while self._by_age and self._by_age[0][0] < before_ms:
            self._seen.discard(heapq.heappop(self._by_age)[1])


def _signed(method: str, path: str, sent_at: str, nonce: str, node_id: str, body: bytes) -> bytes:
    body_hash = hashlib.blake2b(body, digest_size=32).hexdigest()
    return "\n".join(["manor-request.1", method, path, sent_at, nonce, node_id, body_hash]).encode()
