"""/proc/stat: what the cores spent their time on, and how often things happened. Source: proc_stat(5)."""

from __future__ import annotations

import re

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, integer, integers, text_of
from manor.cantal.store.series import Series

MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
EVENTS = {
    b"intr": counter("interrupts"),
    b"ctxt": counter("context_switches"),
    b"processes": counter("forks"),
    b"procs_running": integer("procs_running"),
    b"procs_blocked": integer("procs_blocked"),
}

_EVENT = re.compile(rb"^(intr|ctxt|processes|procs_running|procs_blocked) (\d+)", re.MULTILINE)
_BOOT_TIME = re.compile(rb"^btime (\d+)", re.MULTILINE)

_Shape = tuple[tuple[bytes, ...], int, tuple[bytes, ...]]


def parse(text: bytes, facts: Facts) -> Reading:
    """Shape: names of the cpu lines, numbers in each, names of the events."""
    cpu_lines = text[: text.index(b"\nintr ")].split(b"\n")
    rows = [line.split() for line in (cpu_lines if facts.per_core else cpu_lines[:1])]
    modes = min(len(MODES), len(rows[0]) - 1)
    ticks = integers(word for row in rows for word in row[1 : 1 + modes])
    names, numbers = zip(*_EVENT.findall(text), strict=True)
    shape: _Shape = (tuple(row[0] for row in rows), modes, names)
    return Reading(shape, np.concatenate([facts.scaled_ticks(ticks), integers(numbers)]))


def series(shape: _Shape, _facts: Facts) -> list[Series]:
    cpus, modes, events = shape
    found = []
    for name in cpus:
        core = text_of(name[3:])
        found += [counter(f"core.{m}", core=core) if core else counter(f"cpu.{m}") for m in MODES[:modes]]
    return found + [EVENTS[event] for event in events]


def boot_time_s(text: bytes) -> int | None:
    """When the machine was started, s since 1970; worked out anew at each read, so it moves with the clock."""
    found = _BOOT_TIME.search(text)
    return int(found[1]) if found else None


SOURCE = FileSource("cpu", "stat", parse, series)
