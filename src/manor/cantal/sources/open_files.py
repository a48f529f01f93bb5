"""/proc/sys/fs/file-nr: open file handles of the machine; the second field is always 0. Source: proc_sys_fs(5)."""

from __future__ import annotations

from manor.cantal.sources.file_source import Facts, FileSource, Reading, integer, integers

SERIES = (integer("open_files"), integer("open_files_max"))


def parse(text: bytes, _facts: Facts) -> Reading:
    used, _zero, most = text.split()
    return Reading((), integers((used, most)))


SOURCE = FileSource("open_files", "sys/fs/file-nr", parse, lambda _shape, _facts: SERIES)
