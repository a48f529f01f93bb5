"""The messages between daemon and worker, and how they lie on the socket: length in four bytes, then JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LENGTH_BYTES: Final = 4


class Load(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """The first message: which directory, and the limits of the process."""

    directory: str
    timeout_s: float
    memory_bytes: int
    result_bytes_max: int
    user: str


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    input: dict[str, Any]


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    engine: str
    hash: str
    warnings: tuple[str, ...] = ()


class Ran(msgspec.Struct, frozen=True, kw_only=True, tag="ran"):
    schedule: dict[str, Any]
    log: str
    answers: dict[str, Any]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Loading or one run failed; `log` is what was collected until then."""

    error: str
    log: str = ""


ToChild = Load | Run
ToDaemon = Loaded | Ran | Failed


def pack(message: ToChild | ToDaemon) -> bytes:
    body = msgspec.json.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
