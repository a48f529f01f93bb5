"""Processes: which there are, and eight numbers of each at every tick.

Theory of operation. `/proc/PID/stat` of every process stays open; one read says that it lives and how it fares. The
set of processes is those whose kept descriptor still answers, and besides whatever the listing of /proc shows: a
listing is not atomic and may miss a process, a descriptor does not. All texts of a tick are parsed at once into one
matrix with a row a process. Rows keep their order until the set changes; ids of the columns are stacked in the same
order, so in the steady state a tick is: read, parse, pick columns.

A process is known anew when its start time differs (the pid is used again) and its facts (command line, user, what
it publishes) are read again when it runs another program.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manor.cantal.sources import process_stat as stat
from manor.cantal.sources.feed import NO_SAMPLES, Samples
from manor.cantal.sources.file_source import Facts, counter, integer
from manor.cantal.sources.kept_file import Descriptors, KeptFile
from manor.cantal.sources.process_stat import Numbers, Status
from manor.cantal.store.frame import Bits, Mask
from manor.cantal.store.series import REFUSED, Columns, Ids, SeriesTable
from manor.cantal.store.store import NO_IDS

METRICS = ("vsize", "rss", "swap", "num_threads", "user_time", "system_time", "read_bytes", "write_bytes")
LEVELS = 4  # of these
COMMAND_LINE_BYTES_MAX = 4096
COMMAND_LINE_EVERY = 6  # readings of the status file: some programs rewrite their title all the time
KEPT_PER_PROCESS = 2


UNKNOWN = Status((), (), (), 0, None)


@dataclass(slots=True, eq=False)
class Process:
    """What is remembered of a process between ticks."""

    pid: int
    start: int  # kernel ticks after boot; with the pid it names the process for good
    stat: KeptFile
    io: KeptFile
    began_at: int  # ms since 1970, by the boot time known when it was first seen
    first_seen: int  # number of the pass
    name: str = ""
    command_line: str = ""
    status: Status = UNKNOWN
    group: str | None = None
    io_available: bool = True
    programs: int = 0  # grows when it executes another program
    looks: int = 0  # readings of its status file since then
    is_new: bool = False  # its first samples do not continue what is stored under its pid
    columns: Columns = field(default_factory=lambda: Columns(()))

    @property
    def uid(self) -> int:
        return self.status.uids[0] if self.status.uids else 0

    @property
    def gid(self) -> int:
        return self.status.gids[0] if self.status.gids else 0


class ProcessTable(NamedTuple):
    """All processes of one tick, a row each, for readers in other threads."""

    processes: tuple[Process, ...]
    states: tuple[str, ...]  # one letter
    numbers: Numbers  # as in the stat file
    disk: Numbers  # bytes read, written


class Scan(NamedTuple):
    """What one pass found."""

    samples: Samples
    broken: Ids  # first samples of processes that are not the ones that had these keys before
    gone: tuple[Process, ...]


NO_PROCESSES = ProcessTable((), (), np.zeros((0, stat.FIELDS_MIN), np.int64), np.zeros((0, 2), np.int64))


class Processes:
    """Follows all processes of one machine. One thread."""

    def __init__(
        self, root: Path, facts: Facts, fds: Descriptors, *, status_every: int = 5, metrics: str = "all"
    ) -> None:
        self.table = NO_PROCESSES  # of the newest tick
        self.uncached = 0  # processes whose files had to be opened anew
        self.io_refused = False  # at least one /proc/PID/io could not be read
        self._root = os.fspath(root)
        self._facts = facts
        self._fds = fds
        self._status_every = status_every
        self._metrics = metrics
        self._known: dict[int, Process] = {}  # by pid, in the order of rows
        self._program: Numbers = np.zeros((0, len(stat.PROGRAM)), np.int64)
        self._names: list[bytes] = []
        self._stacked: tuple[int, list[Process]] = (-1, [])  # generation and rows that `_ids` was made for
        self._ids: Ids = np.zeros((0, len(METRICS)), np.int32)
        self._passes = 0

    def scan(self, groups: Mapping[int, str], boot_time_ms: int, continues_before: int, table: SeriesTable) -> Scan:
        """One pass.

        Args:
            groups: pid -> name of its group.
            continues_before: processes that began earlier (ms since 1970) may be continued from stored history in
                the first pass.
        """
        self._passes += 1
        gone: list[Process] = []
        alive, texts, rows_before = self._read_stats(gone)
        found = stat.parse_stats(texts)
        if len(found.good) != len(texts):
            alive = [alive[i] for i in found.good]
            rows_before = [rows_before[i] for i in found.good]
        numbers = found.numbers
        fresh = self._recognise(alive, found, boot_time_ms, gone)
        self._look_again(alive, found, fresh, np.array(rows_before, np.intp))
        regrouped = False
        for process in alive:
            group = groups.get(process.pid)
            if group != process.group or not process.columns.series:
                process.group = group
                process.columns = _columns(process)
                regrouped = True
        io_numbers, io_present = self._read_io(alive)
        self._known = {process.pid: process for process in alive}
        self.table = ProcessTable(tuple(alive), tuple(found.states), numbers, io_numbers)
        self.uncached = sum(not process.stat.is_kept for process in alive)
        ids = self._stack(alive, table, regrouped)
        for process in fresh:
            process.is_new = self._passes > 1 or process.began_at > continues_before
        broken = [process for process in fresh if process.is_new]
        return Scan(
            self._samples(alive, numbers, io_numbers, io_present, ids),
            np.concatenate([p.columns.ids(table) for p in broken]) if broken else NO_IDS,
            tuple(gone),
        )

    def known(self) -> tuple[Process, ...]:
        return self.table.processes

    # -- which there are ---------------------------------------------------------------------------------------

    def _read_stats(self, gone: list[Process]) -> tuple[list[Process], list[bytes], list[int]]:
        """Those that answer, new ones last; their stat texts; their rows in the tick before, -1 for new ones.

        Dead ones are added to `gone`.
        """
        alive, texts, rows_before = [], [], []
        for row, process in enumerate(self._known.values()):
            try:
                text = process.stat.read()
            except OSError:  # ESRCH: it died. (ENOENT if it is not kept.)
                text = b""
            if text:
                alive.append(process)
                texts.append(text)
                rows_before.append(row)
            else:
                self._forget(process, gone)
        answering = {process.pid for process in alive}
        listed = {int(name) for name in os.listdir(self._root) if name.isdigit()}
        for pid in sorted(listed - answering):
            process = Process(
                pid,
                -1,
                KeptFile(f"{self._root}/{pid}/stat", self._fds),
                KeptFile(f"{self._root}/{pid}/io", self._fds),
                0,
                self._passes,
            )
            try:
                text = process.stat.read()
            except OSError:  # vanished between the listing and now
                text = b""
            if text:
                alive.append(process)
                texts.append(text)
                rows_before.append(-1)
            else:
                process.stat.close()
        return alive, texts, rows_before

    def _forget(self, process: Process, gone: list[Process]) -> None:
        process.stat.close()
        process.io.close()
        gone.append(process)

    def _recognise(
        self, alive: list[Process], found: stat.Stats, boot_time_ms: int, gone: list[Process]
    ) -> list[Process]:
        """Give the new ones their start; replace those whose pid means another process now. Returns both."""
        starts = found.numbers[:, stat.START]
        remembered = np.fromiter((p.start for p in alive), np.int64, len(alive))
        fresh = []
        for row in np.flatnonzero(starts != remembered):
            process, start = alive[row], int(starts[row])
            if process.start >= 0:
                gone.append(process)
                process = Process(process.pid, start, process.stat, process.io, 0, self._passes)
                alive[row] = process
            process.start = start
            process.began_at = boot_time_ms + start * 1000 // self._facts.ticks_per_second
            fresh.append(process)
        return fresh

    def _look_again(
        self, alive: list[Process], found: stat.Stats, fresh: list[Process], rows_before: NDArray[np.intp]
    ) -> None:
        """Read the slower facts of new processes, of those that run another program, of each in its turn."""
        program = found.numbers[:, stat.PROGRAM]
        known = rows_before >= 0
        changed = ~known
        changed[known] = (program[known] != self._program[rows_before[known]]).any(axis=1)
        for row, (before, name) in enumerate(zip(rows_before.tolist(), found.names, strict=True)):
            if before >= 0 and self._names[before] != name:
                changed[row] = True
        new = set(map(id, fresh))
        self._program, self._names = program, found.names
        turn = self._passes % self._status_every
        is_kernel_thread = found.numbers[:, stat.VSIZE] == 0  # of these nothing in the status file ever changes
        for row, process in enumerate(alive):
            if changed[row] or id(process) in new:
                process.name = found.names[row].decode("utf-8", "replace")
                process.programs += 1
                process.looks = 0
                self._read_status(process)
            elif process.pid % self._status_every == turn and not is_kernel_thread[row]:
                self._read_status(process)

    def _read_status(self, process: Process) -> None:
        try:
            process.status = stat.parse_status(_read_whole(f"{self._root}/{process.pid}/status", 1 << 16))
            process.looks += 1
            if process.looks % COMMAND_LINE_EVERY == 1:
                line = _read_whole(f"{self._root}/{process.pid}/cmdline", COMMAND_LINE_BYTES_MAX)
                process.command_line = line.decode("utf-8", "replace")
        except (OSError, ValueError):  # dead already: the next tick will notice
            pass

    # -- numbers -----------------------------------------------------------------------------------------------

    def _read_io(self, alive: list[Process]) -> tuple[Numbers, Mask]:
        """(processes, 2) bytes from and to disks, and of which processes they are known."""
        present = np.zeros(len(alive), bool)
        texts = []
        for row, process in enumerate(alive):
            if not process.io_available:
                continue
            try:
                text = process.io.read()
            except OSError as error:
                if error.errno in {errno.EACCES, errno.EPERM, errno.ENOENT}:
                    process.io_available = False
                    self.io_refused |= error.errno != errno.ENOENT
                    process.io.close()
                continue
            if text.count(b"\n") == stat.IO_FIELDS:
                texts.append(text)
                present[row] = True
        numbers = np.zeros((len(alive), 2), np.int64)
        if texts:
            numbers[present] = stat.parse_io(texts)[:, [stat.READ_BYTES, stat.WRITE_BYTES]]
        return numbers, present

    def _stack(self, alive: list[Process], table: SeriesTable, regrouped: bool) -> Ids:
        """(processes, metrics) ids; made anew only when the rows or the table's generation have changed."""
        rows = (table.generation, alive)
        if regrouped or rows != self._stacked:
            ids = [process.columns.ids(table) for process in alive]
            self._ids = np.stack(ids) if ids else np.zeros((0, len(METRICS)), np.int32)
            self._stacked = rows
        return self._ids

    def _samples(self, alive: list[Process], numbers: Numbers, disk: Numbers, disk_known: Mask, ids: Ids) -> Samples:
        if self._metrics == "none" or not alive:
            return NO_SAMPLES
        values = np.empty((len(alive), len(METRICS)), np.int64)
        values[:, 0] = numbers[:, stat.VSIZE]
        values[:, 1] = numbers[:, stat.RSS] * self._facts.page_bytes
        values[:, 2] = np.fromiter((p.status.swap_bytes for p in alive), np.int64, len(alive))
        values[:, 3] = numbers[:, stat.THREADS]
        ticks: Bits = np.ascontiguousarray(numbers[:, [stat.UTIME, stat.STIME]]).view(np.uint64)
        values[:, 4:6] = self._facts.scaled_ticks(ticks).view(np.int64)
        values[:, 6:8] = disk
        wanted = ids != REFUSED
        wanted[~disk_known, 6:8] = False
        if self._metrics == "cgroup":
            wanted &= np.array([process.group is not None for process in alive])[:, None]
        return Samples(ids[wanted], values[wanted].view(np.uint64))


def _columns(process: Process) -> Columns:
    labels = {"pid": str(process.pid)}
    if process.group is not None:
        labels["cgroup"] = process.group
    levels = [integer(metric, **labels) for metric in METRICS[:LEVELS]]
    return Columns([*levels, *(counter(metric, **labels) for metric in METRICS[LEVELS:])])


def _read_whole(path: str, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)
