"""Masters, instances and their processes, as records, status.json and /proc have them at one moment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError
from manor.kernel import process
from manor.lithos.files.master import DEFAULT_MASTER_CONFIG, Places
from manor.lithos.files.names import InstanceName
from manor.lithos.files.record import Record, RecordStore
from manor.lithos.files.status import read_status
from manor.lithos.process_config import read_master

MASTER_COMM: Final = "lithos_tree"
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One process and its descendants. Times in clock ticks, start_time in seconds since 1970."""

    pid: int
    processes: int
    threads: int
    mem_rss: int
    mem_swap: int
    start_time: int
    user_time: int
    system_time: int
    child_user_time: int
    child_system_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One instance or command; heads are the direct children of init with all below them."""

    name: InstanceName
    init_pid: int
    main_pid: int | None
    state: str | None
    heads: tuple[Usage, ...]

    @property
    def ok(self) -> bool:
        return len(self.heads) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One master config; pid is None when its containers run and no master does."""

    pid: int | None
    config: str
    instances: tuple[Shown, ...]


def scan(only: Path | None) -> list[Tree]:
    """All masters found, or the one of a config. Raises OSError when /proc cannot be read, ConfigError for `only`."""
    masters = {config: pid for pid, config in _masters()}
    if only is not None:
        config = only.absolute()
        return [_tree(masters.get(config), config)]
    trees = [_tree(pid, config) for config, pid in sorted(masters.items(), key=lambda item: item[1])]
    if DEFAULT_MASTER_CONFIG not in masters and DEFAULT_MASTER_CONFIG.exists():
        down = _tree(None, DEFAULT_MASTER_CONFIG)
        trees += [down] if down.instances else []
    return trees


def _masters() -> Iterator[tuple[int, Path]]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            directory = Path("/proc", name)
            try:
                if (directory / "comm").read_text().strip() == MASTER_COMM:
                    words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    yield int(name), _config_of(words, Path(os.readlink(directory / "cwd")))
            except OSError:
                continue  # it ended, or is not ours to look at


def _config_of(words: Sequence[str], directory: Path) -> Path:
    """The master config a command line names."""
    for index, word in enumerate(words):
        if word in ("-C", "--config") and index + 1 < len(words):
            return directory / words[index + 1]
        if word.startswith("--config="):
            return directory / word.removeprefix("--config=")
        if word.startswith("-C") and not word.startswith("--") and len(word) > 2:
            return directory / word[2:]
    return DEFAULT_MASTER_CONFIG


def _tree(pid: int | None, config: Path) -> Tree:
    places = Places.of(read_master(config).value, config)
    records, _ = RecordStore(places.records).read_all()
    states = _states(places)
    boot_id, booted_at = process.boot_id(), _booted_at()
    shown = [_shown(record, states, booted_at) for record in records if _lives(record, boot_id)]
    return Tree(pid=pid, config=str(config), instances=tuple(sorted(shown, key=lambda one: one.name)))


def _states(places: Places) -> dict[str, str]:
    try:
        status = read_status(places.status_file)
    except (OSError, ValueError, ManorError):
        return {}
    return {one.name: one.state for one in status.instances} if status is not None else {}


def _lives(record: Record, boot_id: str) -> bool:
    if record.init_pid is None or record.boot_id != boot_id:
        return False
    try:
        return process.start_time(record.init_pid) == record.init_start_time and process.state(record.init_pid) != "Z"
    except ProcessLookupError:
        return False


def _shown(record: Record, states: dict[str, str], booted_at: int) -> Shown:
    assert record.init_pid is not None
    heads = (usage(pid, booted_at) for pid in process.children(record.init_pid))
    return Shown(
        name=InstanceName.parse(record.name),
        init_pid=record.init_pid,
        main_pid=record.main_pid,
        state=states.get(record.name),
        heads=tuple(head for head in heads if head is not None),
    )


def usage(pid: int, booted_at: int) -> Usage | None:
    """A process with everything below it; None when it has ended. Sums hold for those that could be read."""
    read = [fields for one in (pid, *process.descendants(pid)) if (fields := _fields(one)) is not None]
    if not read or read[0][0] != pid:
        return None
    own = read[0]
    return Usage(
        pid=pid,
        processes=len(read),
        start_time=booted_at + own[8] // TICKS_PER_S,
        threads=_total(read, 1),
        mem_rss=_total(read, 2),
        mem_swap=_total(read, 3),
        user_time=_total(read, 4),
        system_time=_total(read, 5),
        child_user_time=_total(read, 6),
        child_system_time=_total(read, 7),
    )


def _total(rows: Iterable[Sequence[int]], column: int) -> int:
    return sum(row[column] for row in rows)


def _fields(pid: int) -> tuple[int, ...] | None:
    """pid, threads, rss, swap, utime, stime, cutime, cstime, starttime; None for what is gone or not yet reaped.

    Source: proc_pid_stat(5), proc_pid_status(5). Memory in bytes, times in clock ticks.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = stat[stat.rindex(")") + 2 :].split()
    if words[0] in "ZX":
        return None
    swap = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSwap:")), 0)
    threads, resident = int(words[17]), int(words[21]) * PAGE_BYTES
    return (pid, threads, resident, swap, *(int(word) for word in words[11:15]), int(words[19]))


def _booted_at() -> int:
    """Seconds since 1970. Source: proc_stat(5), btime."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
