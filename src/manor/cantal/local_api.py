"""The HTTP resources that need nothing but this machine's collector, as plain functions.

The agent registers each row of ROUTES with its service. A handler gets the collector and the decoded JSON body (None
for GET) and returns plain data; `legacy_cbor`, where given, makes the old binary form instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import cbor2
import numpy as np

from manor.cantal.collector import Collector
from manor.cantal.query.conditions import All
from manor.cantal.query.document import parse_document
from manor.cantal.query.encode import json_tip, json_value, kind_name, plain_values, to_cbor, to_plain
from manor.cantal.query.evaluate import evaluate
from manor.cantal.sources import process_stat as stat
from manor.cantal.sources.file_source import TICKS_PER_SECOND
from manor.cantal.store.keys import Key, encode_key
from manor.cantal.store.series import Kind, Series
from manor.cantal.store.view import LocalView

Handler: TypeAlias = Callable[[Collector, Any], Any]

LIMITS: Final = frozenset(
    {"cpu.quota", "cpu.period", "cpu.weight", "memory.max", "memory.high", "memory.low", "memory.swap_max", "pids.max"}
)
USER_DATABASE: Final = Path("/etc/passwd")


@dataclass(frozen=True, slots=True)
class Route:
    """One resource. Errors are raised as `query.errors.BadQuery` (400) and `QueryTooBig` (422)."""

    method: str
    path: str
    answer: Handler
    legacy_cbor: Callable[[Collector, Any], bytes] | None = None
    blocking: bool = False  # may take more than a moment: call it in a thread


# -- questions -------------------------------------------------------------------------------------------------------


def query(collector: Collector, body: Any) -> dict[str, Any]:
    document = parse_document(body)
    view = collector.store.view()
    newest = int(view.times[-1]) if len(view.times) else 0
    return to_plain(evaluate(document, view), newest, view.interval_ms)


def query_cbor(collector: Collector, body: Any) -> bytes:
    document = parse_document(body)
    return to_cbor(evaluate(document, collector.store.view()))


# -- every series ----------------------------------------------------------------------------------------------------


def all_metrics(collector: Collector, _body: Any) -> dict[str, Any]:
    """Every series with its newest value, States first."""
    view = collector.store.view()
    metrics = [
        {"key": dict(s.key), "timestamp": s.seen_at, "kind": "State", "value": json_tip((s.since, s.text), Kind.STATE)}
        for s in view.states(All())
    ]
    metrics += [
        {"key": dict(one.key), "timestamp": time, "kind": kind_name(one), "value": json_value(value)}
        for one, time, value in _newest(view)
    ]
    return {"metrics": metrics}


def all_metrics_cbor(collector: Collector, _body: Any) -> bytes:
    view = collector.store.view()
    metrics: list[Any] = [
        [encode_key(s.key), s.seen_at, [int(Kind.STATE), [s.since, s.text]]] for s in view.states(All())
    ]
    metrics += [[encode_key(one.key), time, [int(one.kind), value]] for one, time, value in _newest(view)]
    return cbor2.dumps({"metrics": metrics})


def _newest(view: LocalView) -> list[tuple[Series, int, Any]]:
    """Every series that has a sample in the window, with its time and its value."""
    ids = view.matching(All())
    tips = view.tips(ids)
    here = tips.times > 0
    series = view.series(ids[here])
    times, bits = tips.times[here].tolist(), tips.bits[here]
    kinds = np.fromiter((one.kind for one in series), np.uint8, len(series))
    values: list[Any] = [None] * len(series)
    for kind in (Kind.COUNTER, Kind.INTEGER, Kind.FLOAT):
        these = np.flatnonzero(kinds == kind)
        for i, value in zip(these.tolist(), plain_values(bits[these], kind), strict=True):
            values[i] = value
    return list(zip(series, times, values, strict=True))


# -- processes and groups --------------------------------------------------------------------------------------------


def all_processes(collector: Collector, _body: Any) -> dict[str, Any]:
    """The process table of the newest tick; times in 1/100 s, sizes in bytes, moments in ms."""
    table, facts = collector.scanner.processes.table, collector.scanner.facts
    hidden = collector.options.hide_cmdline
    ticks = (stat.UTIME, stat.STIME, stat.CUTIME, stat.CSTIME)
    times = table.numbers[:, ticks] * TICKS_PER_SECOND // facts.ticks_per_second
    rows = zip(table.processes, table.states, table.numbers.tolist(), times.tolist(), table.disk.tolist(), strict=True)
    return {
        "boot_time": collector.scanner.boot_time_s,
        "all": [
            {
                "pid": process.pid,
                "ppid": numbers[stat.PPID],
                "uid": process.uid,
                "gid": process.gid,
                "name": process.name,
                "state": state,
                "vsize": numbers[stat.VSIZE],
                "rss": numbers[stat.RSS] * facts.page_bytes,
                "swap": process.status.swap_bytes,
                "num_threads": numbers[stat.THREADS],
                "start_time": process.start * 1000 // facts.ticks_per_second,
                "start_timestamp": process.began_at,
                "user_time": user,
                "system_time": system,
                "child_user_time": child_user,
                "child_system_time": child_system,
                "cmdline": process.name if hidden else process.command_line,
                "read_bytes": read,
                "write_bytes": written,
                "cgroup": process.group,
                "io_available": process.io_available,
                "start_id": f"{process.pid}-{process.start}",
            }
            for process, state, numbers, (user, system, child_user, child_system), (read, written) in rows
        ],
    }


def cgroups(collector: Collector, _body: Any) -> dict[str, Any]:
    """Named groups with what the controllers say at the newest tick; numbers of devices by device."""
    processes: dict[str, list[int]] = {name: [] for name in collector.scanner.groups.names}
    for process in collector.scanner.processes.known():
        if process.group is not None:
            processes.setdefault(process.group, []).append(process.pid)
    numbers: dict[str, dict[str, Any]] = {name: {} for name in processes}
    newest = collector.store.newest_tick
    for one, time, value in _newest(collector.store.view()):
        group, metric = _group_metric(one.key)
        if group in numbers and time == newest:
            _put(numbers[group], metric, dict(one.key).get("device"), json_value(value))
    return {
        "layout": collector.scanner.groups.layout_name,
        "cgroups": [
            {
                "name": name,
                "processes": sorted(processes[name]),
                "values": {m: v for m, v in numbers[name].items() if m not in LIMITS},
                "limits": {m: v for m, v in numbers[name].items() if m in LIMITS},
            }
            for name in sorted(processes)
        ],
    }


def _group_metric(key: Key) -> tuple[str | None, str]:
    """The group, and the metric without `cgroup.`; (None, "") if this is no series of a group itself."""
    pairs = dict(key)
    metric = pairs.get("metric", "")
    if not metric.startswith("cgroup.") or "pid" in pairs:
        return None, ""
    return pairs.get("cgroup"), metric.removeprefix("cgroup.")


def _put(into: dict[str, Any], metric: str, device: str | None, value: Any) -> None:
    if device is None:
        into[metric] = value
    else:
        into.setdefault(metric, {})[device] = value


# -- the rest --------------------------------------------------------------------------------------------------------


def values_errors(collector: Collector, _body: Any) -> dict[str, Any]:
    """What is wrong with files that programs publish."""
    return {"errors": [asdict(defect) for defect in collector.scanner.values.defects()]}


def users(_collector: Collector, _body: Any) -> dict[str, str]:
    """uid -> name, by the machine's user database."""
    names: dict[str, str] = {}
    for line in USER_DATABASE.read_text("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2].isdigit():
            names.setdefault(fields[2], fields[0])
    return names


ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/all_processes", all_processes),
    Route("GET", "/all_metrics", all_metrics, all_metrics_cbor, blocking=True),
    Route("POST", "/query", query, query_cbor, blocking=True),
    Route("GET", "/cgroups", cgroups),
    Route("GET", "/values_errors", values_errors),
    Route("GET", "/users", users),
)
