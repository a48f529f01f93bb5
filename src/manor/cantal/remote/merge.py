"""Several hosts' frames as one: ticks on a common grid, every series labelled with its host. Pure.

Every host's ticks are stamped by its own clock, at multiples of its own interval. The grid is the largest interval of
all; a host with a shorter one gives its last sample within each step. What a host lacks is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manor.cantal.store.frame import Frame, empty_frame
from manor.cantal.store.keys import Key, key_of
from manor.cantal.store.series import Series
from manor.cantal.store.states import StateSample


@dataclass(frozen=True, slots=True)
class HostFrame:
    """One host's part."""

    host: str  # node id, hex
    interval_ms: int
    skew_ms: int  # its clock minus ours
    frame: Frame


def merge(parts: Sequence[HostFrame]) -> tuple[Frame, int]:
    """The common frame and its interval, ms. Stamps of clocks more than one interval off are corrected first."""
    interval = max((part.interval_ms for part in parts), default=1)
    steps = [_steps(part, interval) for part in parts]
    every = np.unique(np.concatenate(steps)) if steps else np.zeros(0, np.int64)
    series = tuple(
        Series(labelled(one.key, part.host), one.kind, one.cumulative) for part in parts for one in part.frame.series
    )
    merged = empty_frame(every * interval, series)
    column = 0
    for part, own_steps in zip(parts, steps, strict=True):
        rows = np.searchsorted(every, own_steps)
        columns = slice(column, column + len(part.frame.series))
        column = columns.stop
        if len(np.unique(rows)) == len(rows):
            merged.bits[rows, columns] = part.frame.bits
            merged.present[rows, columns] = part.frame.present
            merged.breaks[rows, columns] = part.frame.breaks
            continue
        for tick, row in enumerate(rows):  # several ticks in one step: the last sample stays
            here = part.frame.present[tick]
            merged.bits[row, columns] = np.where(here, part.frame.bits[tick], merged.bits[row, columns])
            merged.present[row, columns] |= here
            merged.breaks[row, columns] |= part.frame.breaks[tick]
    return merged, interval


def merge_states(parts: Sequence[tuple[str, Sequence[StateSample]]]) -> list[StateSample]:
    """All hosts' States, labelled."""
    return [state._replace(key=labelled(state.key, host)) for host, states in parts for state in states]


def labelled(key: Key, host: str) -> Key:
    """The key with the pair `host`; a pair of that name a program has made stays as `exported_host`."""
    pairs = dict(key)
    if "host" in pairs:
        pairs["exported_host"] = pairs.pop("host")
    return key_of(pairs, host=host)


def _steps(part: HostFrame, interval: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    times = part.frame.times
    if abs(part.skew_ms) > part.interval_ms:
        times = times - part.skew_ms
    return np.asarray(times // interval, np.int64)
