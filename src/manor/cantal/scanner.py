"""One pass: ask every source, put the answers into the store as one tick. Blocking; lives in the scan thread."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import re2

from manor.cantal.options import CollectorOptions
from manor.cantal.sources import cpu
from manor.cantal.sources.cgroups import ControlGroups, GroupScan
from manor.cantal.sources.feed import NO_SAMPLES, Samples, together
from manor.cantal.sources.file_source import Facts
from manor.cantal.sources.kept_file import Descriptors
from manor.cantal.sources.machine import Machine
from manor.cantal.sources.own import OwnNumbers, OwnSeries
from manor.cantal.sources.processes import Processes, Scan
from manor.cantal.sources.slow import SlowReadings
from manor.cantal.sources.table import MACHINE
from manor.cantal.sources.values_files import ValuesFiles, ValuesScan
from manor.cantal.store.frame import Bits
from manor.cantal.store.series import Ids, Kind, SeriesTable
from manor.cantal.store.store import NO_IDS, Store

T = TypeVar("T")

BOOT_TIME_EVERY = 30  # passes: it moves only when the clock is set, and /proc/stat is long on large machines
FAULTS_LOGGED_EVERY = 1800  # once an hour at the usual interval
NO_GROUPS = GroupScan(NO_SAMPLES, {})
NO_PROCESS_SCAN = Scan(NO_SAMPLES, NO_IDS, ())
NO_VALUES = ValuesScan(NO_SAMPLES, NO_IDS, [])

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One tick, ready for the store."""

    ids: Ids
    bits: Bits
    broken: Ids


class Scanner:
    """All sources of one machine."""

    def __init__(self, options: CollectorOptions, store: Store, facts: Facts | None = None) -> None:
        scan = options.scan
        self.own: list[Callable[[], OwnNumbers]] = [self._own_numbers]
        self.by_origin: dict[str, int] = {}  # series of the newest tick
        self.boot_time_s: int | None = None
        self._store = store
        self._proc_root = options.proc_root
        self.facts = facts = facts or Facts(
            per_core=scan.per_core,
            is_device_ignored=_any_of(scan.disks_ignore),
            is_interface_ignored=_any_of(scan.interfaces_ignore),
        )
        fds = Descriptors()
        self.groups = ControlGroups(
            options.proc_root, options.sys_root, facts, fds, include_user_slice=scan.include_user_slice
        )
        self.processes = Processes(
            options.proc_root, facts, fds, status_every=scan.status_every, metrics=scan.process_metrics
        )
        self.values = ValuesFiles(
            options.proc_root,
            fds,
            interval_ms=options.interval_ms,
            per_file_max=scan.max_series_per_file,
            per_uid_max=scan.max_series_per_uid,
        )
        self.machine = Machine(MACHINE, facts, {"proc": options.proc_root, "sys": options.sys_root}, fds)
        self.slow = SlowReadings(options)
        self.faults: dict[str, int] = {}  # by source: exceptions nobody expected
        self._own_series = OwnSeries()
        self._passes = 0

    def scan(self, tick: int, elapsed_ms: Callable[[], int]) -> None:
        """One pass; what it found is the store's newest tick afterwards."""
        store, table = self._store, self._store.table
        if self._passes % BOOT_TIME_EVERY == 0:
            self._read_boot_time()
        self._passes += 1
        boot_time_ms = (self.boot_time_s or 0) * 1000
        groups = self._guarded("cgroups", lambda: self.groups.scan(table), NO_GROUPS)
        processes = self._guarded(
            "processes",
            lambda: self.processes.scan(groups.members, boot_time_ms, store.newest_tick, table),
            NO_PROCESS_SCAN,
        )
        values = self._guarded(
            "values", lambda: self.values.scan(self.processes.known(), processes.gone, table, tick), NO_VALUES
        )
        machine = self._guarded("machine", lambda: self.machine.scan(table), NO_SAMPLES)
        slow = self._guarded("slow", lambda: self.slow.scan(self._passes, table), NO_SAMPLES)
        own = self._guarded("own", lambda: self._own_series.samples([ask() for ask in self.own], table), NO_SAMPLES)
        published = _without(values.samples, processes.samples.ids, table)
        samples = together([groups.samples, processes.samples, published, machine, slow, own])
        self.by_origin = {
            "machine": len(machine.ids) + len(slow.ids),
            "process": len(processes.samples.ids),
            "cgroup": len(groups.samples.ids),
            "values": len(published.ids),
            "agent": len(own.ids),
        }
        found = joined(samples, np.concatenate([processes.broken, values.broken]), table)
        store.append(tick, elapsed_ms(), found.ids, found.bits, found.broken)
        store.update_states(values.states)

    def _guarded(self, name: str, scan: Callable[[], T], nothing: T) -> T:
        """A fault in one source must not cost the others their tick."""
        try:
            return scan()
        except Exception:
            self.faults[name] = self.faults.get(name, 0) + 1
            if self.faults[name] % FAULTS_LOGGED_EVERY == 1:
                _log.exception("scan.fault source=%s times=%d", name, self.faults[name])
            return nothing

    def _own_numbers(self) -> OwnNumbers:
        errors = Counter(self.machine.errors) + Counter(self.faults) + Counter(cgroups=self.groups.errors)
        return OwnNumbers(
            counters={
                **{f"values.{name}": count for name, count in self.values.counts.items()},
                **{f"scan.errors|source={name}": count for name, count in errors.items()},
            },
            levels={"scan.uncached": self.processes.uncached},
        )

    def _read_boot_time(self) -> None:
        try:
            self.boot_time_s = cpu.boot_time_s((self._proc_root / "stat").read_bytes())
        except OSError:
            self.boot_time_s = None


def _without(samples: Samples, taken: Ids, table: SeriesTable) -> Samples:
    """A program that calls its own number `rss` does not change what the kernel says of it."""
    is_taken = np.zeros(table.capacity + 1, bool)  # the last one stands for REFUSED
    is_taken[taken] = True
    kept = ~is_taken[samples.ids]
    return samples if kept.all() else Samples(samples.ids[kept], samples.bits[kept])


def joined(samples: Samples, broken: Ids, table: SeriesTable) -> Found:
    """Each series once: Counters and Integers that are there twice are added up, of Floats the later one counts."""
    known = samples.ids >= 0
    ids, bits = samples.ids[known], samples.bits[known]
    times = np.bincount(ids, minlength=1)
    several = times[ids] > 1
    if several.any():
        more = _joined_several(ids[several], bits[several], table)
        ids, bits = np.concatenate([ids[~several], more.ids]), np.concatenate([bits[~several], more.bits])
    if len(broken):
        broken = np.intersect1d(broken, ids).astype(np.int32)
    return Found(ids, bits, broken)


def _joined_several(ids: Ids, bits: Bits, table: SeriesTable) -> Samples:
    distinct, position = np.unique(ids, return_inverse=True)
    kinds = np.fromiter((s.kind for s in table.series(distinct)), np.uint8, len(distinct))
    total = np.zeros(len(distinct), np.uint64)
    np.add.at(total, position, bits)
    last = np.zeros(len(distinct), np.uint64)
    last[position] = bits  # of equal positions the last one stays
    return Samples(distinct.astype(np.int32), np.where(kinds == Kind.FLOAT, last, total))


def _any_of(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    compiled = [re2.compile(pattern) for pattern in patterns]
    return lambda name: any(pattern.search(name) for pattern in compiled)
