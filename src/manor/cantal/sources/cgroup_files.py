"""What the files of a control group say, for both kinds of hierarchies: two tables.

Values that read `max` are absent; so are the limits of v1 that are too large to be meant, and its quota of -1.
Sources: Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from manor.cantal.sources import pressure
from manor.cantal.sources.file_source import Facts, Reading, counter, integer, integers
from manor.cantal.store.frame import Bits
from manor.cantal.store.series import Kind, Series

UNLIMITED_FROM = 1 << 60  # v1 prints a number near 2^63 for "no limit"

DeviceName = Callable[[str], str]  # "8:0" -> "sda"


class Metric(NamedTuple):
    """One number of a group: its name without `cgroup.`, and by what it is to be multiplied and divided."""

    name: str
    kind: Kind = Kind.INTEGER
    times: int = 1
    over: int = 1

    def of(self, group: str, **labels: str) -> Series:
        make = counter if self.kind is Kind.COUNTER else integer
        return make(f"cgroup.{self.name}", cgroup=group, **labels)

    def scaled(self, values: Bits) -> Bits:
        return values * np.uint64(self.times) // np.uint64(self.over)


@dataclass(frozen=True, slots=True)
class GroupFile:
    """One row: the controller's hierarchy (v1), the files read together, and what they mean."""

    controller: str
    files: tuple[str, ...]
    parse: Callable[[Sequence[bytes], Facts], Reading]
    series: Callable[[Any, str, Facts, DeviceName], Sequence[Series | None]]
    every: int = 1  # ticks between two readings; the last values are repeated between


LIMITS_EVERY: Final = 5  # what somebody has set, not what goes on: half of all files


def limit(controller: str, file: str, metric: Metric) -> GroupFile:
    """A number that somebody has set."""
    return replace(single(controller, file, metric), every=LIMITS_EVERY)


def single(controller: str, file: str, metric: Metric) -> GroupFile:
    """A file that is one number, or `max`."""

    def parse(texts: Sequence[bytes], _facts: Facts) -> Reading:
        word = texts[0].strip()
        value = None if word == b"max" else int(word)
        if value is None or not 0 <= value < UNLIMITED_FROM:
            return Reading((), np.zeros(1, np.uint64), np.zeros(1, bool))
        return Reading((), metric.scaled(np.array([value], np.uint64)))

    return GroupFile(controller, (file,), parse, lambda _shape, group, _facts, _device: [metric.of(group)])


def pairs(controller: str, file: str, metrics: Mapping[str, Metric]) -> GroupFile:
    """Lines of a name and a number, of which some are kept."""
    by_name = {name.encode(): metric for name, metric in metrics.items()}

    def parse(texts: Sequence[bytes], _facts: Facts) -> Reading:
        words = texts[0].split()
        return Reading(tuple(words[::2]), integers(words[1::2]))

    def series(names: tuple[bytes, ...], group: str, _facts: Facts, _device: DeviceName) -> list[Series | None]:
        return [by_name[name].of(group) if name in by_name else None for name in names]

    if all(metric.times == metric.over == 1 for metric in metrics.values()):
        return GroupFile(controller, (file,), parse, series)

    def parse_scaled(texts: Sequence[bytes], facts: Facts) -> Reading:
        names, values, _ = parse(texts, facts)
        assert isinstance(names, tuple)
        wanted = [by_name.get(name, Metric("")) for name in names]
        times = np.array([metric.times for metric in wanted], np.uint64)
        over = np.array([metric.over for metric in wanted], np.uint64)
        return Reading(names, values * times // over)

    return GroupFile(controller, (file,), parse_scaled, series)


def _with_pressure(resource: str) -> GroupFile:
    def parse(texts: Sequence[bytes], facts: Facts) -> Reading:
        return pressure.parse(texts[0], facts)

    def series(shape: tuple[bytes, ...], group: str, facts: Facts, _device: DeviceName) -> list[Series]:
        return pressure.series_of(resource, "cgroup.", cgroup=group)(shape, facts)

    return GroupFile(resource, (f"{resource}.pressure",), parse, series)


# -- what two numbers in one file, or one in two, need ---------------------------------------------------------------


def _parse_cpu_max(texts: Sequence[bytes], _facts: Facts) -> Reading:
    """`QUOTA PERIOD`, QUOTA perhaps `max`."""
    quota, period = texts[0].split()
    limited = quota != b"max"
    return Reading((), integers((quota if limited else b"0", period)), np.array([limited, True]))


def _cpu_max_series(_shape: Hashable, group: str, _facts: Facts, _device: DeviceName) -> list[Series]:
    return [Metric("cpu.quota").of(group), Metric("cpu.period").of(group)]


def _parse_swap(texts: Sequence[bytes], _facts: Facts) -> Reading:
    """v1 counts memory and swap together."""
    both, memory = (int(text) for text in texts)
    return Reading((), np.array([max(both - memory, 0)], np.uint64))


_IO_V1 = re.compile(rb"^(\d+:\d+) (Read|Write|Discard) (\d+)$", re.MULTILINE)


def _io_v1(file: str, names: Mapping[bytes, str]) -> GroupFile:
    """Lines `8:0 Read 4096`. Shape: (device, word) of each line."""

    def parse(texts: Sequence[bytes], _facts: Facts) -> Reading:
        found = _IO_V1.findall(texts[0])
        return Reading(tuple((device, word) for device, word, _ in found), integers(number for _, _, number in found))

    def series(shape: Sequence[tuple[bytes, bytes]], group: str, _facts: Facts, device: DeviceName) -> list[Series]:
        return [
            Metric(f"io.{names[word]}", Kind.COUNTER).of(group, device=device(number.decode()))
            for number, word in shape
        ]

    return GroupFile("blkio", (file,), parse, series)


_IO_V2_PAIR = re.compile(rb"([a-z]+)=(\d+)")
_IO_V2_NAMES = {b"rbytes", b"wbytes", b"rios", b"wios", b"dbytes", b"dios"}


def _parse_io_v2(texts: Sequence[bytes], _facts: Facts) -> Reading:
    """Lines `8:0 rbytes=1 wbytes=2 ...`. Shape: (device, name) of each number."""
    found = [
        (line.split(b" ", 1)[0], name, number)
        for line in texts[0].split(b"\n")
        for name, number in _IO_V2_PAIR.findall(line)
    ]
    return Reading(tuple((device, name) for device, name, _ in found), integers(number for _, _, number in found))


def _io_v2_series(
    shape: Sequence[tuple[bytes, bytes]], group: str, _facts: Facts, device: DeviceName
) -> list[Series | None]:
    return [
        Metric(f"io.{name.decode()}", Kind.COUNTER).of(group, device=device(number.decode()))
        if name in _IO_V2_NAMES
        else None
        for number, name in shape
    ]


def _parse_freezer(texts: Sequence[bytes], _facts: Facts) -> Reading:
    """`FROZEN`, `FREEZING` or `THAWED`."""
    return Reading((), np.array([texts[0].strip() == b"FROZEN"], np.uint64))


def _one(metric: Metric) -> Callable[[Any, str, Facts, DeviceName], list[Series]]:
    return lambda _shape, group, _facts, _device: [metric.of(group)]


# -- the tables ------------------------------------------------------------------------------------------------------

_C = Kind.COUNTER
_EVENTS = {
    name: Metric(f"memory.events.{name}", _C) for name in ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
}
_STAT_LEVELS = ("anon", "file", "shmem", "kernel", "slab", "sock", "active_file", "inactive_file")
_STAT_COUNTERS = ("pgfault", "pgmajfault", "workingset_refault_anon", "workingset_refault_file")
_V1_STAT = {"rss": "anon", "cache": "file", "shmem": "shmem", "active_file": "active_file"} | {
    "inactive_file": "inactive_file"
}
_US_PER_USER_TICK = 10_000  # cpuacct.stat is in USER_HZ, 100 a second on every machine Debian runs on

V2: Final[tuple[GroupFile, ...]] = (
    pairs(
        "cpu",
        "cpu.stat",
        {
            "usage_usec": Metric("cpu.usage", _C),
            "user_usec": Metric("cpu.user", _C),
            "system_usec": Metric("cpu.system", _C),
            "nr_periods": Metric("cpu.periods", _C),
            "nr_throttled": Metric("cpu.throttled_periods", _C),
            "throttled_usec": Metric("cpu.throttled_time", _C),
            "nr_bursts": Metric("cpu.bursts", _C),
            "burst_usec": Metric("cpu.burst_time", _C),
        },
    ),
    GroupFile("cpu", ("cpu.max",), _parse_cpu_max, _cpu_max_series, LIMITS_EVERY),
    limit("cpu", "cpu.weight", Metric("cpu.weight")),
    single("memory", "memory.current", Metric("memory.current")),
    single("memory", "memory.peak", Metric("memory.peak")),
    limit("memory", "memory.max", Metric("memory.max")),
    limit("memory", "memory.high", Metric("memory.high")),
    limit("memory", "memory.low", Metric("memory.low")),
    single("memory", "memory.swap.current", Metric("memory.swap")),
    limit("memory", "memory.swap.max", Metric("memory.swap_max")),
    pairs(
        "memory",
        "memory.stat",
        {name: Metric(f"memory.stat.{name}") for name in _STAT_LEVELS}
        | {name: Metric(f"memory.stat.{name}", _C) for name in _STAT_COUNTERS},
    ),
    pairs("memory", "memory.events", _EVENTS),
    GroupFile("io", ("io.stat",), _parse_io_v2, _io_v2_series),
    single("pids", "pids.current", Metric("pids.current")),
    limit("pids", "pids.max", Metric("pids.max")),
    pairs("pids", "pids.events", {"max": Metric("pids.events", _C)}),
    _with_pressure("cpu"),
    _with_pressure("memory"),
    _with_pressure("io"),
    single("cgroup", "cgroup.freeze", Metric("frozen")),
)

V1: Final[tuple[GroupFile, ...]] = (
    single("cpuacct", "cpuacct.usage", Metric("cpu.usage", _C, over=1000)),
    pairs(
        "cpuacct",
        "cpuacct.stat",
        {
            "user": Metric("cpu.user", _C, times=_US_PER_USER_TICK),
            "system": Metric("cpu.system", _C, times=_US_PER_USER_TICK),
        },
    ),
    pairs(
        "cpu",
        "cpu.stat",
        {
            "nr_periods": Metric("cpu.periods", _C),
            "nr_throttled": Metric("cpu.throttled_periods", _C),
            "throttled_time": Metric("cpu.throttled_time", _C, over=1000),
        },
    ),
    limit("cpu", "cpu.cfs_quota_us", Metric("cpu.quota")),
    limit("cpu", "cpu.cfs_period_us", Metric("cpu.period")),
    limit("cpu", "cpu.shares", Metric("cpu.weight")),
    single("memory", "memory.usage_in_bytes", Metric("memory.current")),
    single("memory", "memory.max_usage_in_bytes", Metric("memory.peak")),
    limit("memory", "memory.limit_in_bytes", Metric("memory.max")),
    limit("memory", "memory.soft_limit_in_bytes", Metric("memory.low")),
    GroupFile(
        "memory",
        ("memory.memsw.usage_in_bytes", "memory.usage_in_bytes"),
        _parse_swap,
        _one(Metric("memory.swap")),
    ),
    limit("memory", "memory.memsw.limit_in_bytes", Metric("memory.swap_max")),
    single("memory", "memory.kmem.usage_in_bytes", Metric("memory.stat.kernel")),
    pairs(
        "memory",
        "memory.stat",
        {f"total_{v1}": Metric(f"memory.stat.{v2}") for v1, v2 in _V1_STAT.items()}
        | {f"total_{name}": Metric(f"memory.stat.{name}", _C) for name in _STAT_COUNTERS},
    ),
    single("memory", "memory.failcnt", Metric("memory.events.max", _C)),
    pairs("memory", "memory.oom_control", {"oom_kill": _EVENTS["oom_kill"]}),
    _io_v1("blkio.throttle.io_service_bytes_recursive", {b"Read": "rbytes", b"Write": "wbytes", b"Discard": "dbytes"}),
    _io_v1("blkio.throttle.io_serviced_recursive", {b"Read": "rios", b"Write": "wios", b"Discard": "dios"}),
    single("pids", "pids.current", Metric("pids.current")),
    limit("pids", "pids.max", Metric("pids.max")),
    pairs("pids", "pids.events", {"max": Metric("pids.events", _C)}),
    GroupFile("freezer", ("freezer.state",), _parse_freezer, _one(Metric("frozen"))),
)
