"""The collector: one thread that measures at every tick, the store it fills, and whoever wants to know of ticks.

The agent makes one, starts it, and shows it to its HTTP handlers (`local_api.py`) and to the mesh. All methods may be
called from any thread unless said otherwise; subscribers are called in the scan thread and must not block
(`loop.call_soon_threadsafe` is what they are expected to do).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.cantal.store.store import Store


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """The `scan.*` and `values.*` options of agent.yaml; defaults and ranges are those of the specification."""

    per_core: bool = False
    status_every: int = 5
    process_metrics: str = "all"
    include_user_slice: bool = False
    disks_ignore: tuple[str, ...] = ("^(ram|loop)",)
    interfaces_ignore: tuple[str, ...] = ()
    mounts_ignore: tuple[str, ...] = ()
    max_series_per_file: int = 10_000
    max_series_per_uid: int = 20_000
    max_series: int = 200_000


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """What a collector needs to know."""

    interval_ms: int = 2_000
    keep_history_ms: int = 3_600_000
    proc_root: Path = Path("/proc")
    sys_root: Path = Path("/sys")
    storage_dir: Path | None = None  # made, locked and used if given
    hide_cmdline: bool = False
    scan: ScanOptions = field(default_factory=ScanOptions)


@dataclass(frozen=True, slots=True)
class Tick:
    """One completed pass."""

    number: int  # counts passes of this process from 1
    time_ms: int
    duration_ms: int


class Collector:
    """Owns the scan thread and the store.

    Raises on construction: StorageUnusable (exit status 2) if the storage directory cannot be used or is locked.
    """

    store: Store
    options: CollectorOptions

    def __init__(self, options: CollectorOptions) -> None: ...

    def start(self) -> None:
        """Begin to measure. The first tick is at the next multiple of the interval."""

    def stop(self) -> None:
        """End the threads and save what is to be saved. Returns within 5 s; calling twice is fine."""

    def subscribe(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        """Call back after each tick, in the scan thread. Returns the function that ends this."""
        raise AssertionError

    def on_death(self, callback: Callable[[int, BaseException], None]) -> None:
        """Call back (exit status 81 storage, 82 scan; the exception) when a thread dies unexpectedly."""

    def publish(self, name: str, numbers: Callable[[], Mapping[str, int | float]]) -> None:
        """The agent's own series: asked at each tick in the scan thread, metric -> number.

        Names as in `gossip.bad_seal`. An int is a Counter if the name is registered as one with `counters`, see there.
        """

    def last_tick(self) -> Tick | None:
        raise AssertionError

    def scan_age_ms(self) -> int:
        """Time since the last completed pass; since the start if there was none."""
        raise AssertionError

    def summary(self) -> dict[str, Any]:
        """The collector's share of `/status.json`: startup_time, boot_time, scan_duration, storage, self_report,
        threads_report, current_time, interval, keep_history, last_scan, ticks, series, processes, cgroup_layout,
        missing_permissions."""
        raise AssertionError
