"""A key: what a series is called. A set of (name, text) pairs, names unique, in byte order of the names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TypeAlias

import cbor2

Key: TypeAlias = tuple[tuple[str, str], ...]

EMPTY: Key = ()


def key_of(pairs: Mapping[str, str] | None = None, /, **more: str) -> Key:
    """The key of these pairs. Code point order is UTF-8 byte order, so plain sorting is canonical."""
    merged = {**(pairs or {}), **more}
    return tuple(sorted((sys.intern(name), text) for name, text in merged.items()))


def encode_key(key: Key) -> bytes:
    """The canonical binary form: a CBOR map of definite length; the empty key is the empty string of bytes."""
    return cbor2.dumps(dict(key)) if key else b""


def decode_key(data: bytes) -> Key:
    """The opposite of `encode_key`; ValueError if these bytes are no key."""
    if not data:
        return EMPTY
    pairs = cbor2.loads(data)
    if not isinstance(pairs, dict) or not all(isinstance(n, str) and isinstance(t, str) for n, t in pairs.items()):
        raise ValueError("not a map of text to text")
    return key_of(pairs)
