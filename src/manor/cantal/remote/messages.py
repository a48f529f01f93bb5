"""What two agents say to each other over `/peer/ws`: CBOR arrays `[type, {fields}]`, each checked as it comes in.

server: hello, welcome, keys, data, states, beacon, error      client: auth, subscribe, unsubscribe
"""

from __future__ import annotations

from typing import Any, ClassVar

import cbor2
import msgspec

from manor.config.errors import ManorError


class BadMessage(ManorError):
    """data: Expected `int`, got `str` - at `$.sub`"""


class Hello(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "hello"
    id: bytes
    name: str
    version: str
    interval: int  # ms
    newest_tick: int
    clock: int  # ms since 1970, by the server's clock
    nonce: bytes


class Auth(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "auth"
    id: bytes
    nonce: bytes
    mac: bytes = b""  # empty without a cluster key


class Welcome(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "welcome"
    mac: bytes = b""


class Subscribe(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "subscribe"
    sub: int
    source: str  # `Fine` or `Tip`
    condition: Any  # as in a query document
    functions: tuple[Any, ...] = ()  # to be applied there; none is known yet
    ticks: int | None = None  # back-fill: the newest so many
    since: int | None = None  # or all ticks later than this


class Unsubscribe(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "unsubscribe"
    sub: int


class Keys(msgspec.Struct, frozen=True):
    """Names for the columns `first`, `first` + 1...: key in canonical form, kind, cumulative."""

    type: ClassVar[str] = "keys"
    sub: int
    first: int
    series: tuple[tuple[bytes, int, bool], ...]


class Data(msgspec.Struct, frozen=True):
    """Some ticks, oldest first. Arrays are little endian."""

    type: ClassVar[str] = "data"
    sub: int
    times: bytes  # int64, ms
    columns: bytes | None  # int32; None: those of the data before
    packed: bool  # the matrix is packed as chunks are, presence included
    matrix: bytes  # uint64, ticks x columns
    present: bytes  # one bit a sample, tick after tick; empty: all there
    breaks: bytes  # the same; empty: none
    complete: bool  # all there is so far has now been sent


class States(msgspec.Struct, frozen=True):
    """Newest States: all at first, later those that changed. Key, since, text, last seen."""

    type: ClassVar[str] = "states"
    sub: int
    states: tuple[tuple[bytes, int, str, int], ...]


class Beacon(msgspec.Struct, frozen=True):
    """After every tick: the sender's condition, as in the list of connections."""

    type: ClassVar[str] = "beacon"
    newest_tick: int
    clock: int
    facts: dict[str, Any]


class Error(msgspec.Struct, frozen=True):
    type: ClassVar[str] = "error"
    sub: int
    text: str


Message = Hello | Auth | Welcome | Subscribe | Unsubscribe | Keys | Data | States | Beacon | Error

_TYPES: dict[str, type[Message]] = {
    kind.type: kind for kind in (Hello, Auth, Welcome, Subscribe, Unsubscribe, Keys, Data, States, Beacon, Error)
}


def encode(message: Message) -> bytes:
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return cbor2.dumps([message.type, fields])


def decode(data: str | bytes) -> Message:
    """Raises BadMessage."""
    if isinstance(data, str):
        raise BadMessage("a text message; binary ones would be right")
    try:
        kind, fields = cbor2.loads(data)
        wanted = _TYPES[kind]
    except Exception as error:  # whatever the decoder thinks of bytes from the network
        raise BadMessage("no message of this protocol") from error
    try:
        return msgspec.convert(fields, wanted, builtin_types=(bytes,))
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadMessage(f"{kind}: {error}") from error
