"""The storage directory: history that survives a restart.

    lock                  held by flock as long as the agent lives
    history/NNNN.chunk    one sealed chunk each, written once
    history/open.chunk    the open chunk and the States, every minute and at a clean stop

Every file is written under a temporary name, synced, renamed: at most a minute is lost by `kill -9`. After a restart
what was the open chunk is a sealed one with fewer ticks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.cantal.safe_write import write_durably
from manor.cantal.store.chunk import SealedChunk, seal
from manor.cantal.store.chunk_file import DamagedChunk, StoredChunk, decode_chunk, encode_chunk
from manor.cantal.store.store import Contents, Store
from manor.config.errors import ManorError

CHUNK_FILE_BYTES_MAX: Final = 1 << 30
OPEN_CHUNK: Final = "open.chunk"

_CHUNK_NAME = re.compile(r"(\d{4,})\.chunk")
_LEGACY_NAME = re.compile(r"current\.cbor|hourly-.*\.cbor")
_log = logging.getLogger(__name__)


class StorageUnusable(ManorError):
    """/var/lib/cantal: used by another agent; every agent needs a storage directory of its own"""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class LastSave:
    """What `/status` says of storage; zeros before the first save."""

    time: int = 0  # ms since 1970
    timestamp: int = 0  # the newest tick saved
    duration: int = 0  # ms
    size: int = 0  # bytes of all files


class StorageDirectory:
    """One agent's directory. Made if it is not there; locked from construction until `close`."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self.last_save = LastSave()
        self.error: str | None = None
        self._boot_id = boot_id
        self._history = path / "history"
        self._saved: set[int] = set()
        self._spoilt: set[Path] = set()  # files that could not be used; removed at the next save
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._history.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageUnusable(f"{path}: used by another agent; every agent needs its own directory") from error
        except OSError as error:
            raise StorageUnusable(f"{path}: {error.strerror}; a directory the agent may write to is needed") from error

    def close(self) -> None:
        os.close(self._lock)

    # -- at start ----------------------------------------------------------------------------------------------

    def load_into(self, store: Store, now: int) -> None:
        """Give an empty store what is inside its window; `now` in ms since 1970."""
        self._mention_legacy_files()
        stored: list[StoredChunk] = []
        numbers = [0]
        for path in sorted(self._history.glob("*.chunk"), key=lambda path: (path.name == OPEN_CHUNK, path.name)):
            match = _CHUNK_NAME.fullmatch(path.name)
            number = int(match[1]) if match else max(numbers) + 1
            if not match and path.name != OPEN_CHUNK:
                continue
            numbers.append(number)
            one = self._load(path, number, store, now)
            if one is not None:
                stored.append(one)
                if match:
                    self._saved.add(number)
        stored.sort(key=lambda one: int(one.chunk.times[0]))
        kept = [one for i, one in enumerate(stored) if i == 0 or one.chunk.times[0] > stored[i - 1].chunk.times[-1]]
        if not kept:
            return
        store.restore([one.chunk for one in kept], same_boot=kept[-1].boot_id == self._boot_id)
        store.states.update(kept[-1].states, store.newest_tick)
        self._save_sealed(store.contents())  # the open chunk of the last life gets a number of its own
        (self._history / OPEN_CHUNK).unlink(missing_ok=True)

    def _load(self, path: Path, number: int, store: Store, now: int) -> StoredChunk | None:
        try:
            if path.stat().st_size > CHUNK_FILE_BYTES_MAX:
                raise DamagedChunk(f"larger than {CHUNK_FILE_BYTES_MAX} bytes")
            stored = decode_chunk(path.read_bytes(), number, store.table.intern)
            if stored.chunk.times[-1] > now:
                raise DamagedChunk("it is from the future")
        except (OSError, ValueError) as error:
            _log.warning("storage.chunk_skipped file=%s %s", path, error)
            self._spoilt.add(path)
            return None
        if stored.chunk.times[-1] < now - store.keep_history_ms:
            self._spoilt.add(path)
            return None
        return stored

    def _mention_legacy_files(self) -> None:
        found = sorted(entry.name for entry in self.path.iterdir() if _LEGACY_NAME.fullmatch(entry.name))
        if found:
            _log.info("storage.legacy_files_left_alone directory=%s files=%s", self.path, ",".join(found))

    # -- while running -----------------------------------------------------------------------------------------

    def save(self, store: Store) -> None:
        """Write what is new, remove what has left the window. Never raises: a full disk is a warning."""
        began = time.monotonic()
        contents = store.contents()
        try:
            self._save_sealed(contents)
            if contents.unsealed.rows:
                self._save_open(contents)
            self._remove_old(contents)
            size = sum(path.stat().st_size for path in self._history.iterdir())
        except OSError as error:
            if self.error is None:
                _log.warning("storage.failed directory=%s %s", self.path, error)
            self.error = str(error)
            return
        self.error = None
        duration = round((time.monotonic() - began) * 1000)
        self.last_save = LastSave(round(time.time() * 1000), store.newest_tick, duration, size)

    def rewrite_all(self) -> None:
        """The ticks were moved: at the next save write every chunk anew."""
        self._saved = set()

    def _save_sealed(self, contents: Contents) -> None:
        saved = self._saved
        for chunk in contents.sealed:
            if chunk.number not in saved:
                data = encode_chunk(chunk, contents.table.series(chunk.ids), self._boot_id)
                write_durably(self._file_of(chunk), data)
                saved.add(chunk.number)

    def _save_open(self, contents: Contents) -> None:
        series = contents.table.series(contents.unsealed.ids)
        chunk = seal(contents.unsealed, 0, series)
        data = encode_chunk(chunk, contents.table.series(chunk.ids), self._boot_id, contents.states.values())
        write_durably(self._history / OPEN_CHUNK, data)

    def _remove_old(self, contents: Contents) -> None:
        wanted = {self._file_of(chunk) for chunk in contents.sealed}
        for path in self._history.glob("*.chunk"):
            if path in self._spoilt or (path not in wanted and _CHUNK_NAME.fullmatch(path.name)):
                path.unlink(missing_ok=True)
        self._spoilt.clear()
        self._saved &= {chunk.number for chunk in contents.sealed}

    def _file_of(self, chunk: SealedChunk) -> Path:
        return self._history / f"{chunk.number:04d}.chunk"
