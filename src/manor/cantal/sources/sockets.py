"""/proc/net/sockstat and sockstat6: how many sockets there are. Source: proc_pid_net(5).

Both files give the same series, and equal series of one tick are added up: so IPv6 is counted in.
"""

from __future__ import annotations

import re

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, integer, integers
from manor.cantal.store.series import Series

METRICS = {
    b"sockets.used": "used",
    b"TCP.inuse": "tcp.inuse",
    b"TCP.orphan": "tcp.orphan",
    b"TCP.tw": "tcp.tw",
    b"TCP.alloc": "tcp.alloc",
    b"TCP.mem": "tcp.mem",
    b"UDP.inuse": "udp.inuse",
    b"UDP.mem": "udp.mem",
    b"TCP6.inuse": "tcp.inuse",
    b"UDP6.inuse": "udp.inuse",
}
_PAIR = re.compile(rb"([a-z]+) (\d+)")


def parse(text: bytes, facts: Facts) -> Reading:
    """Lines such as `TCP: inuse 8 orphan 0 tw 0 alloc 9 mem 1`, memory in pages. Shape: the names, `TCP.inuse`."""
    lines = [line.partition(b":") for line in text.split(b"\n")]
    found = [(head + b"." + name, number) for head, _, rest in lines for name, number in _PAIR.findall(rest)]
    names = tuple(name for name, _ in found)
    pages = np.array([name.endswith(b".mem") for name in names])
    factor = np.where(pages, np.uint64(facts.page_bytes), np.uint64(1))
    return Reading(names, integers(number for _, number in found) * factor)


def series(names: tuple[bytes, ...], _facts: Facts) -> list[Series | None]:
    return [integer(f"net.sockets.{METRICS[name]}") if name in METRICS else None for name in names]


IPV4 = FileSource("sockstat", "net/sockstat", parse, series)
IPV6 = FileSource("sockstat6", "net/sockstat6", parse, series)
