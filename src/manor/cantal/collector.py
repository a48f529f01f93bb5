"""The collector: one thread that measures at every tick, the store it fills, and whoever wants to know of ticks.

The agent makes one, starts it, and shows it to its HTTP handlers (`local_api.py`) and to the mesh. All methods may be
called from any thread; subscribers are called in the scan thread and must not block (`loop.call_soon_threadsafe` is
what they are expected to do). A second thread, `storage`, seals full chunks and writes them to disk.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from manor import VERSION
from manor.cantal.clocks import Clocks, RealClocks
from manor.cantal.options import CollectorOptions, ScanOptions
from manor.cantal.scanner import Scanner
from manor.cantal.sources.own import OwnNumbers, SelfReport
from manor.cantal.store.directory import LastSave, StorageDirectory, StorageUnusable
from manor.cantal.store.store import Store
from manor.cantal.tick_clock import TickClock
from manor.kernel import process

__all__ = ["Collector", "CollectorOptions", "OwnNumbers", "ScanOptions", "StorageUnusable", "Tick"]

SAVED_EVERY_MS: Final = 60_000  # so much may be lost by `kill -9` at most
SAVED_EVERY_TICKS: Final = 30  # the same at the usual interval; with a shorter one less is lost
LOOKED_AT_CLOCKS_EVERY_MS: Final = 1_000  # while waiting for a tick that a step of the clock has made far away
STOPPED_WITHIN_S: Final = 4.0
EXIT_STORAGE_DIED: Final = 81
EXIT_SCAN_DIED: Final = 82

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """One completed pass."""

    number: int  # counts passes of this process from 1
    time_ms: int
    duration_ms: int


class Collector:
    """Owns the scan thread, the storage thread and the store.

    Raises on construction: StorageUnusable (exit status 2) if the storage directory cannot be used or is locked.
    """

    def __init__(self, options: CollectorOptions, clocks: Clocks | None = None) -> None:
        self.options = options
        self.store = Store(options.interval_ms, options.keep_history_ms, options.scan.max_series)
        self._clocks = clocks or RealClocks()
        self._storage: StorageDirectory | None = None
        if options.storage_dir is not None:
            self._storage = StorageDirectory(options.storage_dir, process.boot_id())
            self._storage.load_into(self.store, self._clocks.wall_ms())
        self.scanner = Scanner(options, self.store)
        self.scanner.own.append(self._own_numbers)
        self._tick_clock = TickClock(options.interval_ms, self.store.newest_tick)
        self._self_report = SelfReport()
        self._subscribers: tuple[Callable[[Tick], None], ...] = ()
        self._on_death: tuple[Callable[[int, BaseException], None], ...] = ()
        self._startup_time = self._clocks.wall_ms()
        self._last_tick: Tick | None = None
        self._last_completed = self._clocks.boot_ms()
        self._stopping = threading.Event()
        self._ticked = threading.Event()
        self._threads: tuple[threading.Thread, ...] = ()

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to measure. The first tick is at the next multiple of the interval."""
        self._threads = (
            threading.Thread(target=self._run, args=("scan", self._scan_forever, EXIT_SCAN_DIED), daemon=True),
            threading.Thread(target=self._run, args=("storage", self._store_forever, EXIT_STORAGE_DIED), daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and save what is to be saved. Returns within 5 s; calling twice is fine."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._ticked.set()
        for thread in self._threads:
            thread.join(STOPPED_WITHIN_S)
        if self._storage is not None:
            self.store.seal_full()
            self._storage.save(self.store)
            self._storage.close()

    def subscribe(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        """Call back after each tick, in the scan thread. Returns the function that ends this."""
        self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            self._subscribers = tuple(known for known in self._subscribers if known is not callback)

        return unsubscribe

    def on_death(self, callback: Callable[[int, BaseException], None]) -> None:
        """Call back (exit status 81 storage, 82 scan; the exception) when a thread dies unexpectedly."""
        self._on_death = (*self._on_death, callback)

    def publish(self, numbers: Callable[[], OwnNumbers]) -> None:
        """The agent's own series, such as `gossip.bad_seal`: asked at each tick in the scan thread."""
        self.scanner.own.append(numbers)

    # -- what is known -----------------------------------------------------------------------------------------

    def last_tick(self) -> Tick | None:
        return self._last_tick

    def scan_age_ms(self) -> int:
        """Time since the last completed pass; since the start if there was none."""
        return self._clocks.boot_ms() - self._last_completed

    def missing_permissions(self) -> list[str]:
        """What cannot be seen without more rights; empty for root."""
        missing = []
        if os.geteuid() != 0:
            missing.append("environments and values files of other users' processes")
        if self.scanner.processes.io_refused:
            missing.append("read_bytes and write_bytes of other users' processes")
        return missing

    def summary(self) -> dict[str, Any]:
        """The collector's share of `/status.json`."""
        tick, scanner, storage = self._last_tick, self.scanner, self._storage
        saved = storage.last_save if storage else LastSave()
        view_ticks = self.store.view().times
        return {
            "version": VERSION,
            "startup_time": self._startup_time,
            "current_time": self._clocks.wall_ms(),
            "boot_time": scanner.boot_time_s,
            "scan_duration": tick.duration_ms if tick else 0,
            "last_scan": tick.time_ms if tick else None,
            "interval": self.options.interval_ms,
            "keep_history": self.options.keep_history_ms,
            "ticks": len(view_ticks),
            "series": {
                "fine": len(self.store.table),
                "tip": len(self.store.states),
                "by_origin": scanner.by_origin,
                "refused": self.store.table.refused,
            },
            "processes": len(scanner.processes.known()),
            "cgroup_layout": scanner.groups.layout_name,
            "storage": {
                "time": saved.time,
                "timestamp": saved.timestamp,
                "duration": saved.duration,
                "size": saved.size,
                "error": storage.error if storage else None,
            },
            "self_report": self._self_report.process,
            "threads_report": self._self_report.threads,
            "missing_permissions": self.missing_permissions(),
        }

    # -- the scan thread ---------------------------------------------------------------------------------------

    def _run(self, name: str, work: Callable[[], None], exit_status: int) -> None:
        process.set_name(name)
        try:
            work()
        except BaseException as error:
            _log.exception("collector.died thread=%s", name)
            for callback in self._on_death:
                callback(exit_status, error)

    def _scan_forever(self) -> None:
        while not self._stopping.is_set():
            wait_ms = self.step()
            if wait_ms > 0:
                self._clocks.wait(self._stopping, min(wait_ms, LOOKED_AT_CLOCKS_EVERY_MS))

    def step(self) -> int:
        """Measure if it is time to. Returns how long there is nothing to do, ms; 0 after a pass."""
        wall = self._clocks.wall_ms()
        moved = self._tick_clock.observe(wall, self._clocks.boot_ms())
        if moved:
            _log.warning("clock.stepped ms=%d; stored ticks are moved along", moved)
            self.store.shift(moved)
            if self._storage is not None:
                self._storage.rewrite_all()
        due = self._tick_clock.due(wall)
        if due > wall:
            return due - wall
        self._tick_clock.started(due)
        began = self._clocks.boot_ms()
        self.scanner.scan(due, lambda: self._clocks.boot_ms() - began)
        self._last_completed = self._clocks.boot_ms()
        number = self._last_tick.number + 1 if self._last_tick else 1
        self._last_tick = Tick(number, due, self._last_completed - began)
        self._self_report.measure(due)
        self._ticked.set()
        for callback in self._subscribers:
            try:
                callback(self._last_tick)
            except Exception:
                _log.exception("collector.subscriber_failed")
        return 0

    def _own_numbers(self) -> OwnNumbers:
        return OwnNumbers(
            counters={"scan.skipped": self._tick_clock.skipped},
            levels={"scan.duration": self._last_tick.duration_ms if self._last_tick else 0},
        )

    # -- the storage thread ------------------------------------------------------------------------------------

    def _store_forever(self) -> None:
        saved_at = self._clocks.boot_ms()
        saved_every = min(SAVED_EVERY_MS, SAVED_EVERY_TICKS * self.options.interval_ms)
        while not self._stopping.is_set():
            self._ticked.wait()
            self._ticked.clear()
            sealed = self.store.seal_full()
            now = self._clocks.boot_ms()
            if self._storage is not None and (sealed or now - saved_at >= saved_every):
                self._storage.save(self.store)
                saved_at = now
