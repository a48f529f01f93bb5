"""The kinds of values. Each is a few bytes of memory: private ones at first, of the published file after `start`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar

from .collection import Collection, global_collection

COUNTER_MASK = (1 << 64) - 1
CACHE_LINE_BYTES = 64
STATE_HEAD_BYTES = 8
DEFAULT_TEXT_BYTES = CACHE_LINE_BYTES - STATE_HEAD_BYTES


class Cell:
    """What all values have: a name, a size, and the memory they live in."""

    __slots__ = ("__weakref__", "_lock", "_view", "size")

    type_: ClassVar[tuple[str, str]]  # as in the description: type, parameter
    code: ClassVar[str]  # how the memory is looked at, as in module `array`

    def __init__(self, size: int, pairs: dict[str, Any], collection: Collection | None) -> None:
        for name, text in pairs.items():
            if not isinstance(text, str):
                raise TypeError(f"{name}={text!r}: the pairs of a metric are text")
        collection = global_collection if collection is None else collection
        self.size = size
        self._lock: Lock = collection.lock
        self.use_private_memory()
        collection.add(pairs, self)

    @property
    def entry(self) -> tuple[str, str, int]:
        """Type, parameter and size, for the description."""
        return (*self.type_, self.size)

    def take_lock(self, lock: Lock) -> None:
        self._lock = lock

    def use_private_memory(self) -> None:
        self._view: memoryview[Any] = memoryview(bytearray(self.size)).cast(self.code)  # type: ignore[call-overload]

    def content(self) -> bytes:
        return self._view.tobytes()

    def move_to(self, memory: memoryview[int], *, keep_value: bool) -> None:
        """Live there from now on; called with the lock held."""
        if keep_value:
            memory[:] = self._view.cast("B")
        self._view = memory.cast(self.code)  # type: ignore[call-overload]


class Counter(Cell):
    """Only grows, and wraps at 2^64."""

    __slots__ = ()
    type_ = ("counter", "")
    code = "Q"

    def __init__(self, *, collection: Collection | None = None, **pairs: str) -> None:
        super().__init__(8, pairs, collection)

    def incr(self, n: int = 1) -> None:
        if n < 0:
            raise ValueError(f"a counter only grows; incr({n}) would make it smaller")
        with self._lock:
            view = self._view
            view[0] = (view[0] + n) & COUNTER_MASK

    def __iadd__(self, n: int) -> Counter:
        self.incr(n)
        return self

    def get(self) -> int:
        return int(self._view[0])


class Integer(Cell):
    """A level: a whole number that goes up and down, 64 bits."""

    __slots__ = ()
    type_ = ("level", "signed")
    code = "q"

    def __init__(self, *, collection: Collection | None = None, **pairs: str) -> None:
        super().__init__(8, pairs, collection)

    def set(self, n: int) -> None:
        with self._lock:
            self._store(n)

    def get(self) -> int:
        return int(self._view[0])

    def incr(self, n: int = 1) -> None:
        with self._lock:
            self._store(self._view[0] + n)

    def decr(self, n: int = 1) -> None:
        self.incr(-n)

    def __iadd__(self, n: int) -> Integer:
        self.incr(n)
        return self

    def __isub__(self, n: int) -> Integer:
        self.incr(-n)
        return self

    def __getitem__(self, index: int) -> int:
        return int(self._view[index])

    def __setitem__(self, index: int, n: int) -> None:
        if index != 0:
            raise IndexError("a level has one value, [0]")
        self.set(n)

    def _store(self, n: int) -> None:
        try:
            self._view[0] = n
        except ValueError as error:
            raise OverflowError(f"{n} does not fit into 64 bits") from error


class Float(Cell):
    """A level: a fraction that goes up and down."""

    __slots__ = ()
    type_ = ("level", "float")
    code = "d"

    def __init__(self, *, collection: Collection | None = None, **pairs: str) -> None:
        super().__init__(8, pairs, collection)

    def set(self, value: float) -> None:
        with self._lock:
            self._view[0] = value

    def get(self) -> float:
        return float(self._view[0])

    def incr(self, d: float = 1.0) -> None:
        with self._lock:
            self._view[0] += d

    def decr(self, d: float = 1.0) -> None:
        self.incr(-d)

    def __iadd__(self, d: float) -> Float:
        self.incr(d)
        return self

    def __isub__(self, d: float) -> Float:
        self.incr(-d)
        return self

    def __getitem__(self, index: int) -> float:
        return float(self._view[index])

    def __setitem__(self, index: int, value: float) -> None:
        if index != 0:
            raise IndexError("a level has one value, [0]")
        self.set(value)


def Level(kind: str = "integer", *, collection: Collection | None = None, **pairs: str) -> Integer | Float:
    """An Integer or a Float."""
    if kind not in ("integer", "float"):
        raise ValueError(f'kind={kind!r}: "integer" or "float" is expected')
    return (Integer if kind == "integer" else Float)(collection=collection, **pairs)


class State(Cell):
    """What is being done, and since when: a time in ms, then text."""

    __slots__ = ("_text_bytes",)
    type_ = ("state", "")
    code = "B"

    def __init__(self, size: int = DEFAULT_TEXT_BYTES, *, collection: Collection | None = None, **pairs: str) -> None:
        whole = STATE_HEAD_BYTES + size
        if whole & (whole - 1) or whole % CACHE_LINE_BYTES:
            warnings.warn(
                f"size={size}: with its head of {STATE_HEAD_BYTES} bytes a state is best a power of two and a multiple "
                f"of {CACHE_LINE_BYTES}; {DEFAULT_TEXT_BYTES} is the usual size",
                stacklevel=2,
            )
        self._text_bytes = size
        super().__init__(whole, pairs, collection)

    def enter(self, text: str) -> None:
        """The time is written last, so no reader sees the new time with the old text."""
        encoded = text.encode("utf-8", "replace")
        if len(encoded) > self._text_bytes:
            encoded = encoded[: self._text_bytes].decode("utf-8", "ignore").encode("utf-8")
        if len(encoded) < self._text_bytes:
            encoded += b"\0"
        view = self._view
        view[STATE_HEAD_BYTES : STATE_HEAD_BYTES + len(encoded)] = encoded
        view[:STATE_HEAD_BYTES].cast("Q")[0] = int(time.time() * 1000)

    def exit(self) -> None:
        """In no state. The text stays, as the last thing that was done."""
        self._view[:STATE_HEAD_BYTES].cast("Q")[0] = 0

    @contextmanager
    def context(self, text: str) -> Iterator[State]:
        self.enter(text)
        try:
            yield self
        finally:
            self.exit()
