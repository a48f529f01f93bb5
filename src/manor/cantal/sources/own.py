"""The agent's own numbers, as series and for its status page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manor.cantal.sources.feed import Samples
from manor.cantal.store.frame import float_bits
from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Columns, Kind, Series, SeriesTable

LABELS = {"group": "cantal", "appname": "cantal"}
USER_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class OwnNumbers:
    """What a part of the agent publishes: by metric, or by metric and `|label=text`."""

    counters: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, int | float] = field(default_factory=dict)


class OwnSeries:
    """Turns such numbers into samples; remembers the columns as long as the names stay."""

    def __init__(self) -> None:
        self._names: tuple[object, ...] = ()
        self._columns = Columns(())

    def samples(self, all_numbers: list[OwnNumbers], table: SeriesTable) -> Samples:
        counters = {k: v for numbers in all_numbers for k, v in numbers.counters.items()}
        levels = {k: v for numbers in all_numbers for k, v in numbers.levels.items()}
        kinds = [*[Kind.COUNTER] * len(counters), *map(_kind_of_level, levels.values())]
        names = (*counters, *levels, *kinds)
        if names != self._names:
            self._names = names
            self._columns = Columns(
                [Series(_key(n), kind) for n, kind in zip([*counters, *levels], kinds, strict=True)]
            )
        bits = np.array([*counters.values(), *map(_bits, levels.values())], np.uint64)
        return Samples(self._columns.ids(table), bits)


def _key(name: str) -> tuple[tuple[str, str], ...]:
    metric, *labels = name.split("|")
    return key_of(LABELS, metric=metric, **dict(label.split("=", 1) for label in labels))


def _kind_of_level(value: int | float) -> Kind:
    return Kind.FLOAT if isinstance(value, float) else Kind.INTEGER


def _bits(value: int | float) -> int:
    if isinstance(value, float):
        return int(float_bits(np.array([value]))[0])
    return value & 0xFFFF_FFFF_FFFF_FFFF


class SelfReport:
    """How much of the machine the agent takes, as `/status` shows it. `measure` once a tick."""

    def __init__(self) -> None:
        self.process: dict[str, Any] | None = None
        self.threads: dict[str, dict[str, float]] | None = None
        self._started_at = int(time.time() * 1000)
        self._swap_peak = 0  # the kernel keeps none
        self._before: tuple[float, dict[str, int], dict[str, tuple[int, int]]] | None = None

    def measure(self, now: int) -> None:
        clock = time.monotonic()
        numbers, threads = _own_numbers(), _own_threads()
        before, self._before = self._before, (clock, numbers, threads)
        if before is None or clock <= before[0]:
            return
        seconds = clock - before[0]

        def rate(name: str) -> float:
            return (numbers[name] - before[1][name]) / seconds

        self._swap_peak = max(self._swap_peak, numbers["VmSwap"])
        gross = rate("cpu") * 100 / USER_HZ
        cores = os.cpu_count() or 1
        self.process = {
            "timestamp": now,
            "duration": round(seconds * 1000),
            "start_time": self._started_at,
            "system_uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000),
            "global_cpu_usage": round(_busy_share(numbers, before[1]), 3),
            "process_cpu_usage": round(gross / cores, 3),
            "gross_cpu_usage": round(gross, 3),
            "memory_rss": numbers["VmRSS"],
            "memory_virtual": numbers["VmSize"],
            "memory_swap": numbers["VmSwap"],
            "memory_rss_peak": numbers["VmHWM"],
            "memory_virtual_peak": numbers["VmPeak"],
            "memory_swap_peak": self._swap_peak,
            "disk_read": rate("read_bytes"),
            "disk_write": rate("write_bytes"),
            "disk_cancelled": rate("cancelled_write_bytes"),
            "io_read": rate("rchar"),
            "io_write": rate("wchar"),
            "io_read_ops": rate("syscr"),
            "io_write_ops": rate("syscw"),
        }
        self.threads = {
            name: _thread_report(ticks, before[2].get(name, ticks), seconds) for name, ticks in threads.items()
        }


def _thread_report(now: tuple[int, int], before: tuple[int, int], seconds: float) -> dict[str, float]:
    user, system = ((n - b) * 100 / USER_HZ / seconds for n, b in zip(now, before, strict=True))
    return {"system_cpu": round(system, 3), "user_cpu": round(user, 3), "cpu_usage": round(user + system, 3)}


def _busy_share(now: dict[str, int], before: dict[str, int]) -> float:
    """Of all cores together, percent."""
    total = now["machine_total"] - before["machine_total"]
    return 100 * (1 - (now["machine_idle"] - before["machine_idle"]) / total) if total else 0.0


def _own_numbers() -> dict[str, int]:
    """Of this very process, hence always from /proc."""
    numbers = dict.fromkeys(("VmRSS", "VmSize", "VmSwap", "VmHWM", "VmPeak"), 0)
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in numbers:
                numbers[name] = int(rest.split()[0]) * 1024
    with open("/proc/self/io", encoding="ascii") as file:
        numbers.update((name, int(number)) for name, _, number in (line.partition(":") for line in file))
    times = os.times()
    numbers["cpu"] = round((times.user + times.system) * USER_HZ)
    with open("/proc/stat", encoding="ascii") as file:
        cpu = list(map(int, file.readline().split()[1:9]))
    numbers["machine_total"], numbers["machine_idle"] = sum(cpu), cpu[3] + cpu[4]
    return numbers


def _own_threads() -> dict[str, tuple[int, int]]:
    """(user, system) ticks by name of the thread; the first one is called `main`."""
    found: dict[str, tuple[int, int]] = {}
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:  # it ended meanwhile
            continue
        name = "main" if int(tid) == os.getpid() else text[text.index("(") + 1 : text.rindex(")")]
        if name in {"main", "scan", "storage"}:
            words = text[text.rindex(")") + 2 :].split()
            found[name] = (int(words[11]), int(words[12]))
    return found
