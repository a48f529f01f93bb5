"""/proc/vmstat: paging and reclaim; most of its lines repeat /proc/meminfo and are left out. Source: proc_vmstat(5)."""

from __future__ import annotations

import re

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, integers, text_of
from manor.cantal.store.series import Series

WANTED = re.compile(
    r"pgfault|pgmajfault|pgpgin|pgpgout|pswpin|pswpout|pgscan_direct|pgsteal_direct"
    r"|allocstall_.*|oom_kill|workingset_refault_.*"
)


def parse(text: bytes, _facts: Facts) -> Reading:
    words = text.split()
    return Reading(tuple(words[::2]), integers(words[1::2]))


def series(names: tuple[bytes, ...], _facts: Facts) -> list[Series | None]:
    found = map(text_of, names)
    return [counter(f"vm.{name}") if WANTED.fullmatch(name) else None for name in found]


SOURCE = FileSource("vmstat", "vmstat", parse, series)
