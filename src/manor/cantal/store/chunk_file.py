"""A sealed chunk as a file. The blocks are in it as they are in memory; around them, what they mean.

8 bytes     magic, its last byte the version
4, 4 bytes  length and CRC-32 of the head, little endian
head        CBOR, zstd: boot id, ticks, series, length and CRC-32 of each block, breaks, States (open chunk only)
blocks      one after the other
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cbor2
import numpy as np
import zstandard

from manor.cantal.store.chunk import CHUNK_TICKS, SealedChunk
from manor.cantal.store.keys import decode_key, encode_key
from manor.cantal.store.series import Kind, Series
from manor.cantal.store.states import StateSample

MAGIC: Final = b"CANTALH\x01"
HEAD_BYTES_MAX: Final = 256 << 20

_FRONT = struct.Struct("<8sII")


class DamagedChunk(ValueError):
    """These bytes are no chunk of this version."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What a file says."""

    boot_id: str
    chunk: SealedChunk
    states: tuple[StateSample, ...]


def encode_chunk(
    chunk: SealedChunk, series: Sequence[Series], boot_id: str, states: Iterable[StateSample] = ()
) -> bytes:
    """`series` are those of chunk.ids, in that order."""
    head = {
        "boot": boot_id,
        "times": chunk.times.astype("<i8").tobytes(),
        "durations": chunk.durations.astype("<i4").tobytes(),
        "keys": [encode_key(one.key) for one in series],
        "kinds": bytes(one.kind for one in series),
        "cumulative": bytes(one.cumulative for one in series),
        "blocks": [[len(block), zlib.crc32(block)] for block in chunk.blocks],
        "break_rows": chunk.break_rows.astype("<i4").tobytes(),
        "break_columns": chunk.break_columns.astype("<i4").tobytes(),
        "states": [[encode_key(s.key), s.since, s.text, s.seen_at] for s in states],
    }
    packed = zstandard.ZstdCompressor(level=3).compress(cbor2.dumps(head))
    return b"".join([_FRONT.pack(MAGIC, len(packed), zlib.crc32(packed)), packed, *chunk.blocks])


def decode_chunk(data: bytes, number: int, intern: Callable[[Series], int]) -> StoredChunk:
    """Raises DamagedChunk. `intern` gives the id of a series here and now."""
    try:
        head, blocks = _checked(data)
        series = [
            Series(decode_key(key), Kind(kind), bool(cumulative))
            for key, kind, cumulative in zip(head["keys"], head["kinds"], head["cumulative"], strict=True)
        ]
        chunk = SealedChunk(
            np.frombuffer(head["times"], "<i8").astype(np.int64),
            np.frombuffer(head["durations"], "<i4").astype(np.int32),
            np.fromiter(map(intern, series), np.int32, len(series)),
            blocks,
            np.frombuffer(head["break_rows"], "<i4").astype(np.int32),
            np.frombuffer(head["break_columns"], "<i4").astype(np.int32),
            number,
        )
        states = tuple(StateSample(decode_key(key), *rest) for key, *rest in head["states"])
        boot_id = str(head["boot"])
    except DamagedChunk:
        raise
    except (KeyError, TypeError, ValueError, struct.error, zstandard.ZstdError, cbor2.CBORDecodeError) as error:
        raise DamagedChunk(f"not readable: {error}") from error
    if not 1 <= len(chunk.times) <= CHUNK_TICKS or (np.diff(chunk.times) <= 0).any():
        raise DamagedChunk("its ticks are in no order")
    if (chunk.ids < 0).any():
        raise DamagedChunk("it has more series than there may be")
    return StoredChunk(boot_id, chunk, states)


def _checked(data: bytes) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """The head, and the blocks as their checksums want them."""
    magic, length, crc = _FRONT.unpack_from(data)
    if magic != MAGIC:
        raise DamagedChunk("not a chunk of this version")
    packed = data[_FRONT.size : _FRONT.size + length]
    if len(packed) != length or zlib.crc32(packed) != crc:
        raise DamagedChunk("the checksum of its head is wrong")
    head = cbor2.loads(zstandard.ZstdDecompressor().decompress(packed, max_output_size=HEAD_BYTES_MAX))
    blocks, at = [], _FRONT.size + length
    for size, expected in head["blocks"]:
        block = data[at : at + size]
        if len(block) != size or zlib.crc32(block) != expected:
            raise DamagedChunk("the checksum of a block is wrong")
        blocks.append(block)
        at += size
    return head, tuple(blocks)
