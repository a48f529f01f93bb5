"""The bounds of the mesh."""

from __future__ import annotations

from typing import Final

PATH: Final = "/peer/ws"
SUBPROTOCOL: Final = "cantal-peer.1"

MESSAGE_BYTES_MAX: Final = 16 << 20
UNSENT_BYTES_MAX: Final = 8 << 20  # of one connection; past it the slow one is cut and catches up later
SAMPLES_PER_MESSAGE: Final = 500_000  # 4 MB before packing
PLAIN_TICKS_MAX: Final = 8  # so few ticks are not worth packing
SUBSCRIPTIONS_MAX: Final = 1_000  # of one connection
SERIES_MAX: Final = 1_000_000  # of one subscription

FIRST_CONNECTIONS_MS: Final = (5, 150)
HANDSHAKES_MAX: Final = 100
HANDSHAKE_S: Final = 30.0
SILENCE_S: Final = 15.0
SEND_S: Final = 30.0  # a message the other side does not take in that time
RECONNECT_S: Final = (1.5, 30.0)  # first pause, longest pause; each times 0.5 to 1.5
PING_EVERY_S: Final = 5.0
BACKFILL_TICKS: Final = 150
WAIT_MS_MAX: Final = 10_000

CLOSE_NOT_AUTHORISED: Final = 4401
CLOSE_WRONG_ID: Final = 4403
CLOSE_TOO_SLOW: Final = 4408
CLOSE_BAD_MESSAGE: Final = 4400

assert SAMPLES_PER_MESSAGE * 8 * 2 < MESSAGE_BYTES_MAX  # values, presence and breaks
assert SILENCE_S > 2 * PING_EVERY_S
