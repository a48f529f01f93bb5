"""Frames as messages and back. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manor.cantal.remote.limits import PLAIN_TICKS_MAX, SAMPLES_PER_MESSAGE, SERIES_MAX
from manor.cantal.remote.messages import BadMessage, Data, Keys
from manor.cantal.store.codec import pack, unpack
from manor.cantal.store.frame import Bits, Frame, Mask, Times
from manor.cantal.store.keys import decode_key, encode_key
from manor.cantal.store.series import Kind, Series


class Columns:
    """The sender's numbers for the series of one subscription, and which columns were sent last."""

    def __init__(self, sub: int) -> None:
        self._sub = sub
        self._numbers: dict[Series, int] = {}
        self._last: bytes | None = None

    def messages(self, frame: Frame, *, complete: bool) -> list[Keys | Data]:
        """A frame as messages, names before their first use; the last one says whether that is all so far."""
        frame = frame.columns(np.flatnonzero(frame.present.any(axis=0)))
        found: list[Keys | Data] = []
        first = len(self._numbers)
        new = [series for series in frame.series if series not in self._numbers]
        for series in new:
            self._numbers[series] = len(self._numbers)
        if new:
            names = tuple((encode_key(one.key), int(one.kind), one.cumulative) for one in new)
            found.append(Keys(self._sub, first, names))
        columns = np.array([self._numbers[series] for series in frame.series], "<i4").tobytes()
        step = max(1, SAMPLES_PER_MESSAGE // max(1, len(frame.series)))
        starts = list(range(0, len(frame.times), step)) or [0]
        for start in starts:
            part = frame.ticks(start, start + step)
            said = None if columns == self._last else columns
            self._last = columns
            found.append(_data(self._sub, part, said, complete=complete and start == starts[-1]))
        return found


def _data(sub: int, part: Frame, columns: bytes | None, *, complete: bool) -> Data:
    times = part.times.astype("<i8").tobytes()
    breaks = np.packbits(part.breaks).tobytes() if part.breaks.any() else b""
    if len(part.times) > PLAIN_TICKS_MAX and len(part.series):
        return Data(sub, times, columns, True, pack(part.bits, part.present), b"", breaks, complete)
    present = b"" if part.present.all() else np.packbits(part.present).tobytes()
    matrix = np.ascontiguousarray(part.bits, "<u8").tobytes()
    return Data(sub, times, columns, False, matrix, present, breaks, complete)


class Received:
    """The receiver's side of one subscription to one member: the newest `keep` ticks of everything it sent.

    Rows are appended in place; when the arrays are full the newest half moves to the front, so that a tick costs what
    it brings and not what is there.
    """

    def __init__(self, keep: int) -> None:
        self.complete = False
        self._keep = keep
        self._ticks = 0
        self._times: Times = np.zeros(2 * keep, np.int64)
        self._series: list[Series] = []
        self._positions: dict[Series, int] = {}
        self._bits: Bits = np.zeros((2 * keep, 16), np.uint64)
        self._present: Mask = np.zeros((2 * keep, 16), bool)
        self._breaks: Mask = np.zeros((2 * keep, 16), bool)
        self._by_number: list[int] = []  # position of the column the sender calls so
        self._last: NDArray[np.int32] | None = None

    @property
    def newest_tick(self) -> int:
        """ms since 1970; 0 before the first."""
        return int(self._times[self._ticks - 1]) if self._ticks else 0

    def connect_again(self) -> None:
        """A new connection: the sender's numbers begin anew, what was received stays."""
        self._by_number = []
        self._last = None
        self.complete = False

    def name(self, message: Keys) -> None:
        """Raises BadMessage."""
        if message.first != len(self._by_number) or len(self._by_number) + len(message.series) > SERIES_MAX:
            raise BadMessage("keys: the numbers do not follow those before")
        for key, kind, cumulative in message.series:
            try:
                series = Series(decode_key(key), Kind(kind), cumulative)
            except Exception as error:  # the decoder's opinion of foreign bytes
                raise BadMessage("keys: not a key") from error
            position = self._positions.get(series)
            if position is None:
                position = self._positions[series] = len(self._series)
                self._series.append(series)
            self._by_number.append(position)
        missing = len(self._series) - self._bits.shape[1]
        if missing > 0:
            self._widen(max(missing, self._bits.shape[1]))

    def add(self, message: Data) -> None:
        """Raises BadMessage."""
        try:
            self._add(message)
        except (ValueError, IndexError) as error:
            raise BadMessage(f"data: {error}") from error
        self.complete = self.complete or message.complete

    def _add(self, message: Data) -> None:
        times = np.frombuffer(message.times, "<i8").astype(np.int64)
        if message.columns is not None:
            numbers = np.frombuffer(message.columns, "<i4")
            if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self._by_number)):
                raise ValueError("a column without a name")
            self._last = np.array(self._by_number, np.int32)[numbers]
        if self._last is None:
            raise ValueError("no columns were named")
        shape = len(times), len(self._last)
        if message.packed:
            bits, present = unpack(message.matrix, *shape)
        else:
            bits = np.frombuffer(message.matrix, "<u8").reshape(shape)
            present = _mask(message.present, shape, absent=True)
        breaks = _mask(message.breaks, shape, absent=False)
        if len(times) and (np.diff(times) <= 0).any():
            raise ValueError("the ticks are not in order")
        new = times > self.newest_tick
        self._append(times[new], bits[new], present[new], breaks[new])

    def _append(self, times: Times, bits: Bits, present: Mask, breaks: Mask) -> None:
        assert self._last is not None
        room = 2 * self._keep
        skipped = max(0, len(times) - self._keep)
        times, bits, present, breaks = times[skipped:], bits[skipped:], present[skipped:], breaks[skipped:]
        if self._ticks + len(times) > room:
            kept = max(0, min(self._ticks, self._keep - len(times)))
            old = slice(self._ticks - kept, self._ticks)
            for array in (self._times, self._bits, self._present, self._breaks):
                array[:kept] = array[old].copy()
            self._present[kept:] = False
            self._breaks[kept:] = False
            self._ticks = kept
        rows = slice(self._ticks, self._ticks + len(times))
        self._times[rows] = times
        self._bits[rows, self._last] = bits
        self._present[rows, self._last] = present
        self._breaks[rows, self._last] = breaks
        self._ticks += len(times)

    def _widen(self, by: int) -> None:
        self._bits = np.pad(self._bits, ((0, 0), (0, by)))
        self._present = np.pad(self._present, ((0, 0), (0, by)))
        self._breaks = np.pad(self._breaks, ((0, 0), (0, by)))

    def frame(self) -> Frame:
        """What is known now; a copy, so that it can be read in a thread."""
        rows = slice(max(0, self._ticks - self._keep), self._ticks)
        columns = slice(0, len(self._series))
        return Frame(
            self._times[rows].copy(),
            tuple(self._series),
            self._bits[rows, columns].copy(),
            self._present[rows, columns].copy(),
            self._breaks[rows, columns].copy(),
        )


def _mask(packed: bytes, shape: tuple[int, int], *, absent: bool) -> Mask:
    if not packed:
        return np.full(shape, absent)
    samples = shape[0] * shape[1]
    if len(packed) != (samples + 7) // 8:
        raise ValueError("a mask of the wrong size")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=samples).reshape(shape).astype(bool)
