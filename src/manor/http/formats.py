"""One document in four forms, chosen by the suffix of the last path component."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import Enum
from typing import Any, Final

import msgspec

GRON_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


class Format(Enum):
    """The value is the suffix."""

    JSON = "json"  # compact
    PRETTY = "pretty"  # JSON, indented by 2
    GRON = "gron"  # one assignment per leaf
    CBOR = "cbor"

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES[self]


_CONTENT_TYPES: Final = {
    Format.JSON: "application/json",
    Format.PRETTY: "application/json",
    Format.GRON: "text/x-gron",
    Format.CBOR: "application/cbor",
}


def split_suffix(path: str, known: Collection[Format]) -> tuple[str, Format] | None:
    """`/status.gron` -> `/status` and GRON; None if the last component has no suffix that we know."""
    head, dot, suffix = path.rpartition(".")
    if not dot or head.endswith("/"):
        return None
    for format_ in known:
        if format_.value == suffix:
            return head, format_
    return None


def encode(data: Any, format_: Format) -> bytes:
    """The document's bytes. Structs and dataclasses are mappings of their fields; NaN and infinity are null.

    Raises:
        TypeError: something in the data is no plain data, which is a bug of the handler.
    """
    if format_ is Format.CBOR:
        import cbor2  # only some who ask want it

        return cbor2.dumps(msgspec.to_builtins(data, builtin_types=(bytes, bytearray)))
    text = msgspec.json.encode(data)
    if format_ is Format.PRETTY:
        return msgspec.json.format(text, indent=2) + b"\n"
    if format_ is Format.GRON:
        return "".join(f"{line}\n" for line in gron(msgspec.json.decode(text))).encode("utf-8", "surrogatepass")
    return text


def gron(document: Any) -> Iterator[str]:
    """Lines such as `json.leader.name = "alpha";`, keys sorted. An empty mapping or list is a leaf."""
    waiting: list[tuple[str, Any]] = [("json", document)]  # a stack: no recursion, whatever the depth
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend((path + _member(key), value[key]) for key in sorted(value, reverse=True))
        elif isinstance(value, list) and value:
            waiting.extend((f"{path}[{place}]", value[place]) for place in reversed(range(len(value))))
        else:
            yield f"{path} = {msgspec.json.encode(value).decode()};"


def _member(key: str) -> str:
    return f".{key}" if GRON_NAME.fullmatch(key) else f"[{msgspec.json.encode(key).decode()}]"
