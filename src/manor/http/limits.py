"""The bounds of the agents' servers, together. A route may have its own bound of the body, a service its own times."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

BODY_BYTES_MAX: Final = 64 * KIB
HEADER_BYTES_MAX: Final = 16 * KIB
HEADER_FIELD_BYTES_MAX: Final = 8 * KIB
CONNECTIONS_MAX: Final = 500
CONNECTIONS_PER_ADDRESS_MAX: Final = 50

HEADERS_WITHIN_S: Final = 10.0
BODY_WITHIN_S: Final = 30.0
ANSWER_WITHIN_S: Final = 120.0  # for each 64 MiB begun
ANSWER_STEP_BYTES: Final = 64 * MIB
IDLE_S: Final = 600.0  # agents ask each other every few seconds and should not dial anew
CLOSE_WITHIN_S: Final = 5.0  # how long closing waits for requests in progress

COMPRESS_ABOVE_BYTES: Final = 1 * KIB
SOCKET_MESSAGE_BYTES_MAX: Final = 16 * MIB
SOCKET_PING_EVERY_S: Final = 5.0

FAILURES_MAX: Final = 10  # wrong credentials from one address ...
FAILURES_WITHIN_S: Final = 60.0  # ... in this time ...
LOCKED_OUT_S: Final = 60.0  # ... and it is refused for this long
FAILING_ADDRESSES_MAX: Final = 10_000  # remembered; beyond, the oldest are forgotten

assert HEADER_FIELD_BYTES_MAX <= HEADER_BYTES_MAX
assert CONNECTIONS_PER_ADDRESS_MAX < CONNECTIONS_MAX
