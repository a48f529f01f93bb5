"""Who may use the mesh: both sides prove with the cluster key that they belong, over both nonces and both ids."""

from __future__ import annotations

import secrets
from typing import Final

from manor.cantal.remote.limits import PATH
from manor.trust.keys import PurposeKeys

NONCE_BYTES: Final = 32


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


class Handshake:
    """What both sides know once hello and auth were exchanged."""

    def __init__(self, *, server_id: bytes, server_nonce: bytes, client_id: bytes, client_nonce: bytes) -> None:
        parts = (server_id, server_nonce, client_id, client_nonce, PATH.encode())
        self._fits = all(len(i) == 16 for i in (server_id, client_id)) and all(
            len(nonce) == NONCE_BYTES for nonce in (server_nonce, client_nonce)
        )
        self._common = b"".join(parts)

    def proof(self, keys: PurposeKeys | None, *, by_server: bool) -> bytes:
        """Empty without a key. The two sides sign different bytes, so that none can echo the other's proof."""
        return keys.mac(self._signed(by_server)) if keys is not None else b""

    def accepts(self, keys: PurposeKeys | None, proof: bytes, *, by_server: bool) -> bool:
        if not self._fits:
            return False
        return keys is None or keys.verify_mac(self._signed(by_server), proof)

    def _signed(self, by_server: bool) -> bytes:
        return b"manor-peer.1 " + (b"server " if by_server else b"client ") + self._common
