"""/proc/uptime: how long the machine runs, and the idle time of all its cores. Source: proc_uptime(5)."""

from __future__ import annotations

from manor.cantal.sources.file_source import Facts, FileSource, Reading, floating, floats

SERIES = (floating("uptime"), floating("idle_time"))


def parse(text: bytes, _facts: Facts) -> Reading:
    up, idle = text.split()
    return Reading((), floats((up, idle)))


SOURCE = FileSource("uptime", "uptime", parse, lambda _shape, _facts: SERIES)
