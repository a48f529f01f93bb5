"""A collection: values that are published together, as one pair of files."""

from __future__ import annotations

import atexit
import mmap
import os
import warnings
import weakref
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from .layout import Entry, lay_out, name_of

if TYPE_CHECKING:
    from .cells import Cell

MODE = 0o644  # the agent may run as anybody


class DuplicateValueException(RuntimeError):
    """Two values of one collection have the same pairs."""


class Collection:
    """Values by name. Until `start` they live in private memory, so objects may be used at any time."""

    def __init__(self) -> None:
        self.lock = Lock()  # of all increments; never held while anything can block
        self._cells: dict[str, Cell] = {}
        self._active: ActiveCollection | None = None
        _collections.add(self)

    def add(self, pairs: dict[str, str], cell: Cell) -> None:
        if self._active is not None:
            raise RuntimeError("values cannot be added after start(); declare them all before it")
        name = name_of(pairs)
        if name in self._cells:
            raise DuplicateValueException(f"the value {name} is already declared")
        self._cells[name] = cell

    def start(self, path: str, *, per_process: bool = False) -> ActiveCollection:
        """Publish under `path`. Raises OSError if the files cannot be written; nothing has changed then.

        With `per_process` every process forked from this one publishes files of its own, `path.PID`, and counts
        from zero. Without, parent and children count into one file, and increments of two at once may get lost.
        """
        if self._active is not None:
            raise RuntimeError("start() was already called")
        self._active = ActiveCollection(self, os.path.abspath(path.rstrip("/") or path), per_process)
        return self._active

    def cells(self) -> dict[str, Cell]:
        return dict(self._cells)

    def after_fork(self) -> None:
        """In a forked child, where another thread of the parent may have held the lock for ever."""
        self.lock = Lock()
        for cell in self._cells.values():
            cell.take_lock(self.lock)
        if self._active is not None:
            self._active.after_fork()


class ActiveCollection:
    """A collection that is published."""

    def __init__(self, collection: Collection, path: str, per_process: bool) -> None:
        self._collection = collection
        self._base = path
        self._per_process = per_process
        self._owner = 0  # pid of the process that made the files and is to remove them; 0: nobody any more
        self._publish(path, keep_values=True)

    def close(self) -> None:
        """Remove the files, if this very process made them. Values go on living in memory."""
        if self._owner != os.getpid():
            return
        self._owner = 0
        for suffix in (".meta", ".values"):
            _remove(self.path + suffix)

    def after_fork(self) -> None:
        if self._per_process:
            self._owner = 0
            try:
                self._publish(f"{self._base}.{os.getpid()}", keep_values=False)
            except OSError as error:
                for cell in self._collection.cells().values():
                    cell.use_private_memory()
                warnings.warn(f"metrics of the forked process {os.getpid()} are not published: {error}", stacklevel=2)

    def _publish(self, path: str, *, keep_values: bool) -> None:
        cells = self._collection.cells()
        layout = lay_out(Entry(*cell.entry, name) for name, cell in cells.items())
        memory = memoryview(_create(path, layout.size, layout.text, cells, layout.offsets, keep_values=keep_values))
        with self._collection.lock:
            for cell, offset in zip(cells.values(), layout.offsets, strict=True):
                cell.move_to(memory[offset : offset + cell.size], keep_value=keep_values)
        self.path = path
        self._owner = os.getpid()


def _create(
    path: str, size: int, text: str, cells: dict[str, Cell], offsets: list[int], *, keep_values: bool
) -> mmap.mmap:
    """Values first and complete, then the description: a reader never sees half."""
    _remove(path + ".meta")
    _remove(path + ".values")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w+b") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(bytes(size))
            file.flush()
            memory = mmap.mmap(file.fileno(), size)
        if keep_values:
            for cell, offset in zip(cells.values(), offsets, strict=True):
                memory[offset : offset + cell.size] = cell.content()
        os.rename(temporary, path + ".values")
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(text)
        os.rename(temporary, path + ".meta")
    except OSError:
        _remove(temporary)
        _remove(path + ".values")
        raise
    return memory


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def start(path: str | None = None, *, per_process: bool = False) -> ActiveCollection | None:
    """Publish everything declared so far; the files are removed when this process exits.

    Without `path`, CANTAL_PATH of the environment counts, and is taken out of it: a program that is started from
    here is to publish under a path of its own or not at all.
    """
    if not global_collection.cells():
        warnings.warn("start() was called before any metric was declared; nothing is published", stacklevel=2)
        return None
    if path is None:
        path = os.environ.pop("CANTAL_PATH", None) or _undiscovered_path()
    active = global_collection.start(path, per_process=per_process)
    atexit.register(active.close)
    return active


def _undiscovered_path() -> str:
    directory = os.environ.get("XDG_RUNTIME_DIR")
    path = f"{directory}/cantal.{os.getpid()}" if directory else f"/tmp/cantal.{os.getuid()}.{os.getpid()}"
    warnings.warn(f"CANTAL_PATH is not set; publishing at {path}, where the agent will not find it", stacklevel=3)
    return path


def _after_fork_in_child() -> None:
    for collection in list(_collections):
        collection.after_fork()


_collections: weakref.WeakSet[Collection] = weakref.WeakSet()
global_collection = Collection()
os.register_at_fork(after_in_child=_after_fork_in_child)
