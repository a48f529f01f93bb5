"""/proc/net/dev: what went through the network interfaces. Source: proc_pid_net(5).

The names of the columns are in the second line: `face |bytes packets ... |bytes packets ...`.
"""

from __future__ import annotations

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, integers, text_of
from manor.cantal.store.series import Series

_Shape = tuple[bytes, tuple[bytes, ...]]


def parse(text: bytes, _facts: Facts) -> Reading:
    """Shape: the line of column names, the interfaces. A name may touch its first number: `eth0:1234`."""
    _title, header, *lines = text.rstrip(b"\n").split(b"\n")
    parts = [line.rpartition(b":") for line in lines]
    shape: _Shape = (header, tuple(name.strip() for name, _, _ in parts))
    return Reading(shape, integers(word for _, _, numbers in parts for word in numbers.split()))


def series(shape: _Shape, facts: Facts) -> list[Series | None]:
    header, names = shape
    _face, receive, transmit = header.split(b"|")
    columns = [f"rx.{c.decode()}" for c in receive.split()] + [f"tx.{c.decode()}" for c in transmit.split()]
    interfaces = map(text_of, names)
    return [
        None if facts.is_interface_ignored(name) else counter(f"net.interface.{column}", interface=name)
        for name in interfaces
        for column in columns
    ]


SOURCE = FileSource("interfaces", "net/dev", parse, series)
