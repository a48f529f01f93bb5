"""All sources. One more is one more file here and one more row."""

from __future__ import annotations

from typing import Final

from manor.cantal.sources import (
    cpu,
    disks,
    interfaces,
    load,
    memory,
    network,
    open_files,
    pressure,
    sockets,
    uptime,
    vmstat,
)
from manor.cantal.sources.file_source import FileSource

MACHINE: Final[tuple[FileSource, ...]] = (
    uptime.SOURCE,
    open_files.SOURCE,
    load.SOURCE,
    cpu.SOURCE,
    memory.SOURCE,
    vmstat.SOURCE,
    *pressure.SOURCES,
    interfaces.SOURCE,
    network.NETSTAT,
    network.SNMP,
    sockets.IPV4,
    sockets.IPV6,
    disks.SOURCE,
)
