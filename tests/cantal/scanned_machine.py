"""A scanner a test drives by hand, on the real machine or on a made-up one."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from manor.cantal.options import CollectorOptions, ScanOptions
from manor.cantal.query.conditions import All
from manor.cantal.query.encode import plain_values
from manor.cantal.scanner import Scanner
from manor.cantal.sources.file_source import Facts
from manor.cantal.store.series import Kind
from manor.cantal.store.store import Store

INTERVAL = 2000
FIRST = 1_800_000_000_000


class Scanned:
    """Passes without a thread and without waiting."""

    def __init__(
        self, proc: Path = Path("/proc"), sys: Path = Path("/sys"), facts: Facts | None = None, **scan: Any
    ) -> None:
        self.store = Store(INTERVAL, 3_600_000)
        options = CollectorOptions(INTERVAL, 3_600_000, proc, sys, scan=ScanOptions(**scan))
        self.scanner = Scanner(options, self.store, facts)
        self.tick = FIRST

    def scan(self, passes: int = 1) -> Scanned:
        for _ in range(passes):
            self.tick += INTERVAL
            self.scanner.scan(self.tick, lambda: 1)
            assert not self.scanner.faults
        return self

    def now(self, **wanted: str) -> dict[str, Any]:
        """Newest tick: the rest of each key that has all these pairs -> value; `metric` alone is shown by its text.

        The group of a process depends on where the tests run, so it is left out unless asked for.
        """
        view = self.store.view()
        ids = view.matching(All())
        tips = view.tips(ids)
        found = {}
        for one, time, bits in zip(view.series(ids), tips.times, tips.bits, strict=True):
            pairs = dict(one.key)
            if time == self.tick and wanted.items() <= pairs.items():
                left_out = {*wanted, "cgroup"} if "pid" in pairs else {*wanted}
                rest = {k: v for k, v in pairs.items() if k not in left_out}
                (value,) = plain_values(np.array([bits], np.uint64), one.kind)
                found[rest["metric"] if set(rest) == {"metric"} else _short(rest)] = value
        return found

    def kinds(self, **wanted: str) -> dict[str, Kind]:
        table = self.store.table
        series = table.series(table.all_ids())
        return {dict(s.key)["metric"]: s.kind for s in series if wanted.items() <= dict(s.key).items()}

    def states(self) -> dict[str, tuple[int, str]]:
        """By the metric of their keys."""
        return {dict(s.key).get("metric", ""): (s.since, s.text) for s in self.store.states.snapshot().values()}


def _short(pairs: dict[str, str]) -> str:
    return ",".join(f"{name}={text}" for name, text in pairs.items())


def write_pair(path: Path, meta: str, values: bytes) -> None:
    """As a writer does: values first, each under another name and renamed."""
    temporary = path.with_name(path.name + ".new")
    for suffix, content in ((".values", values), (".meta", meta.encode())):
        temporary.write_bytes(content)
        os.rename(temporary, path.with_name(path.name + suffix))


def counters(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)


class Sleeper:
    """A process that does nothing but have an environment; always taken down."""

    def __init__(self, uid: int | None = None, **environ: str) -> None:
        self.process = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], **environ}, user=uid)
        self.pid = str(self.process.pid)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Sleeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


# -- a made-up machine -----------------------------------------------------------------------------------------------

STAT_TAIL = "0 0 {minflt} 0 {majflt} 0 {utime} {stime} {cutime} {cstime} 20 0 {threads} 0 {start} {vsize} {rss}"


def stat_line(pid: int, name: str = "prog", state: str = "S", ppid: int = 1, **numbers: int) -> str:
    """A line of /proc/PID/stat with 52 fields."""
    values = dict.fromkeys(
        ("minflt", "majflt", "utime", "stime", "cutime", "cstime", "threads", "start", "vsize", "rss"), 0
    )
    tail = STAT_TAIL.format(**{**values, "threads": 1, **numbers})
    front = f"{pid} ({name}) {state} {ppid} {pid} {pid} 0 -1 4194560"
    known = f"{front} {tail.removeprefix('0 0 ')} 18446744073709551615"
    return known + " 1" * (52 - (len(known.rsplit(")", 1)[1].split()) + 2)) + "\n"


class MadeUp:
    """Trees for proc_root and sys_root. Files are rewritten in place, as the kernel's are."""

    def __init__(self, directory: Path) -> None:
        self.proc = directory / "proc"
        self.sys = directory / "sys"
        self.proc.mkdir()
        self.sys.mkdir()

    def put(self, path: str, text: str) -> None:
        """A file below /proc or /sys, by its usual path."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "r+" if file.exists() else "w") as open_file:
            open_file.truncate(0)
            open_file.write(text)

    def path(self, path: str) -> Path:
        return self.proc.parent / path.lstrip("/")

    def process(self, pid: int, name: str = "prog", **numbers: Any) -> None:
        self.put(f"/proc/{pid}/stat", stat_line(pid, name, **numbers))
        self.put(
            f"/proc/{pid}/status", f"Name:\t{pid}\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nVmSwap:\t4 kB\nNSpid:\t{pid}\n"
        )
        self.put(f"/proc/{pid}/cmdline", f"{name}\0--flag\0")
        self.put(f"/proc/{pid}/environ", "")
