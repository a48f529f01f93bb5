"""/proc/net/netstat and /proc/net/snmp: counters of the protocols, a line of names before each line of numbers.

Source: proc_pid_net(5), net/ipv4/proc.c.
"""

from __future__ import annotations

import numpy as np

from manor.cantal.sources.file_source import Facts, FileSource, Reading, counter, integer, integers
from manor.cantal.store.series import Series

SNMP_PROTOCOLS = frozenset({"Ip", "Icmp", "Tcp", "Udp", "UdpLite"})
LEVELS = frozenset(
    {"Tcp.CurrEstab", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn", "Tcp.RtoAlgorithm", "Ip.Forwarding", "Ip.DefaultTTL"}
)


def parse(text: bytes, _facts: Facts) -> Reading:
    """Shape: the lines of names."""
    lines = text.rstrip(b"\n").split(b"\n")
    return Reading(tuple(lines[::2]), integers(word for line in lines[1::2] for word in line.split()[1:]))


def parse_netstat(text: bytes, facts: Facts) -> Reading:
    """Negative numbers, which a counter cannot have, are left out."""
    reading = parse(text, facts)
    if b" -" not in text:
        return reading
    words = [word for line in text.rstrip(b"\n").split(b"\n")[1::2] for word in line.split()[1:]]
    return reading._replace(present=np.array([not word.startswith(b"-") for word in words]))


def names(shape: tuple[bytes, ...]) -> list[str]:
    """`Tcp.InSegs` and so on."""
    found = []
    for line in shape:
        protocol, *columns = line.decode("ascii", "replace").split()
        found += [f"{protocol.rstrip(':')}.{column}" for column in columns]
    return found


def netstat_series(shape: tuple[bytes, ...], _facts: Facts) -> list[Series]:
    return [counter(f"net.{name}") for name in names(shape)]


def snmp_series(shape: tuple[bytes, ...], _facts: Facts) -> list[Series | None]:
    return [_snmp_one(name) for name in names(shape)]


def _snmp_one(name: str) -> Series | None:
    if name.split(".")[0] not in SNMP_PROTOCOLS:
        return None
    return integer(f"net.{name}") if name in LEVELS else counter(f"net.{name}")


NETSTAT = FileSource("netstat", "net/netstat", parse_netstat, netstat_series)
SNMP = FileSource("snmp", "net/snmp", parse, snmp_series)
