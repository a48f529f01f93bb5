"""The one way in which fields become a version hash (BLAKE2b, 512 bits), and the record of what was hashed.

Every value carries its kind and its length, so that no two different inputs give the same bytes: ("ab", "c") is not
("a", "bc"), and the list ["a"] is not the text "a".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Field: TypeAlias = str | bytes | bool | int | Sequence["Field"] | Mapping[str, "Field"] | None


class Hasher:
    """Collects the fields of one step; `digest` is their hash chained to what came before.

    Attributes:
        fields: what was added, in order: the recipe of a step as a person can read it.
    """

    def __init__(self, *before: Field) -> None:
        self.fields: list[tuple[str, Field]] = []
        self._encoded = bytearray()
        for value in before:
            _encode(value, self._encoded)

    def add(self, name: str, value: Field) -> None:
        """Everything that changes the result of a step is added, nothing else."""
        self.fields.append((name, value))
        _encode(name, self._encoded)
        _encode(value, self._encoded)

    @property
    def encoded(self) -> bytes:
        """The very bytes that are hashed."""
        return bytes(self._encoded)

    def digest(self) -> str:
        """128 lower-case hex digits."""
        return hashlib.blake2b(self._encoded).hexdigest()


def _encode(value: Field, into: bytearray) -> None:
    """KIND LENGTH ":" BYTES, where the bytes of a collection are its encoded items; mappings sorted by key."""
    kind: bytes
    content = bytearray()
    match value:
        case None:
            kind = b"n"
        case bool():
            kind, content = b"b", bytearray(b"1" if value else b"0")
        case int():
            kind, content = b"i", bytearray(str(value).encode())
        case str():
            kind, content = b"s", bytearray(value.encode("utf-8", "surrogateescape"))
        case bytes():
            kind, content = b"y", bytearray(value)
        case Mapping():
            kind = b"m"
            for key in sorted(value):
                _encode(key, content)
                _encode(value[key], content)
        case _:
            kind = b"l"
            for item in value:
                _encode(item, content)
    into += kind + str(len(content)).encode() + b":" + content
