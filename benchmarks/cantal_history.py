"""What the history takes: 10,000 series over one chunk of ticks, sealed.

Beside it the same compressor at the same level over the same samples as they lie in memory, tick after tick. Seven in
ten columns never change, as on a machine that does its ordinary work; the rest is what changes there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks.measure import Row, Size, in_turn, seconds
from manor.cantal.store.chunk import CHUNK_TICKS, SealedChunk
from manor.cantal.store.codec import LEVEL
from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Kind, Series
from manor.cantal.store.store import Store

INTERVAL_S = 2
FIRST_TICK_MS = 1_700_000_000_000
CONSTANT = 0.7  # of the columns


def run(size: Size) -> Iterable[Row]:
    columns, runs = (10_000, 5) if size is Size.FULL else (500, 1)
    kinds, ticks = realistic(columns)
    samples = columns * CHUNK_TICKS
    chunks: list[SealedChunk] = []
    plain: list[bytes] = []

    def seal() -> float:
        store = filled(kinds, ticks)
        return seconds(lambda: store.seal_full(chunks.append))

    def compress() -> float:
        return seconds(lambda: plain.append(zstandard.ZstdCompressor(level=LEVEL).compress(ticks[:-1].tobytes())))

    seal_s, compress_s = in_turn(runs, seal, compress)
    made_of = f"{columns} series, {CHUNK_TICKS} ticks"
    peer = f"zstd -{LEVEL} of the plain samples"
    yield Row("a sample in memory", chunks[0].stored_bytes / samples, "bytes", peer, len(plain[0]) / samples, made_of)
    yield Row("time to seal them", seal_s, "s", peer, compress_s)
    yield Row("CPU share of sealing", 100 * seal_s / (CHUNK_TICKS * INTERVAL_S), "% of one")


def filled(kinds: list[Kind], ticks: NDArray[np.uint64]) -> Store:
    store = Store(INTERVAL_S * 1000, 3_600_000)
    series = [Series(key_of({"group": "shop"}, metric=f"number_{i}"), kind) for i, kind in enumerate(kinds)]
    ids = np.array([store.table.intern(one) for one in series], np.int32)
    for number, row in enumerate(ticks):
        store.append(FIRST_TICK_MS + 1000 * INTERVAL_S * number, 10, ids, row)
    return store


def realistic(columns: int) -> tuple[list[Kind], NDArray[np.uint64]]:
    """Kinds of the columns, and samples of shape (CHUNK_TICKS + 1, columns): the last row begins the next chunk.

    Of what changes a third each are counters of events, counters of bytes, and levels that walk; of the levels every
    second one is a fraction of three digits.
    """
    rng = np.random.default_rng(1)
    kinds, columns_of = [], []
    for number in range(columns):
        if rng.random() < CONSTANT:
            kinds.append((Kind.COUNTER, Kind.INTEGER)[number % 2])
            columns_of.append(np.full(CHUNK_TICKS + 1, rng.integers(0, 2**32), np.uint64))
            continue
        shape = number % 3
        if shape < 2:
            steps = rng.poisson(5, CHUNK_TICKS + 1) if shape == 0 else rng.integers(0, 1_000_000, CHUNK_TICKS + 1)
            kinds.append(Kind.COUNTER)
            columns_of.append((rng.integers(0, 2**40) + np.cumsum(steps)).astype(np.uint64))
        else:
            level = rng.integers(10_000, 100_000) + np.cumsum(rng.integers(-50, 51, CHUNK_TICKS + 1))
            is_float = number % 2 == 0
            kinds.append(Kind.FLOAT if is_float else Kind.INTEGER)
            columns_of.append((level / 1000).view(np.uint64) if is_float else level.astype(np.uint64))
    return kinds, np.column_stack(columns_of)
