"""/proc/loadavg: load, tasks, the newest pid. Source: proc_loadavg(5)."""

from __future__ import annotations

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, floating, floats, integer, integers

SERIES = (
    floating("load_avg_1min"),
    floating("load_avg_5min"),
    floating("load_avg_15min"),
    integer("proc_runnable"),
    integer("proc_total"),
    integer("last_pid"),
)


def parse(text: bytes, _facts: Facts) -> Reading:
    """The fourth field is `runnable/all`."""
    one, five, fifteen, tasks, last_pid = text.split()
    runnable, total = tasks.split(b"/")
    return Reading((), np.concatenate([floats((one, five, fifteen)), integers((runnable, total, last_pid))]))


SOURCE = FileSource("load", "loadavg", parse, lambda _shape, _facts: SERIES)
