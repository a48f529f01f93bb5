"""Network addresses as text: `1.2.3.4:22682`, `[fd00::1]:22682`; this machine's, and those somebody gave.

The interfaces are asked by one netlink dump, written out here: the library for it takes longer to import than the
agent to start.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Iterable
from typing import Final, TypeAlias

from manor.cantal.gossip.numbers import ADDRESSES_MAX
from manor.config.errors import ManorError

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")

_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_DONE: Final = 3
_NLM_F_REQUEST_DUMP: Final = 0x301
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_REPLY_BYTES: Final = 65_536
_REPLIES_MAX: Final = 256


class BadAddress(ManorError):
    """`1.2.3.4:99999`: no port; 1 to 65535 would be right"""


def ip(text: str) -> IpAddress:
    return ipaddress.ip_address(text)


def join(host: str, port: int) -> str:
    """An address as it is written everywhere; IPv4 addresses in IPv6 clothes lose them."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped if mapped is not None else address
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def split(address: str) -> tuple[str, int]:
    """IP and port of an address made by `join`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def parse_target(text: str, default_port: int) -> tuple[str, int]:
    """What somebody may write for a peer: `IP:PORT`, `[IPv6]:PORT`, `NAME:PORT`, or without the port.

    Raises:
        BadAddress: nothing of these.
    """
    try:
        return str(ipaddress.ip_address(text)), default_port
    except ValueError:
        pass
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port_text = rest[1:] if rest.startswith(":") else None
        if not bracket or (rest and port_text is None):
            raise BadAddress(f"`{text}` is no address; `[IPv6]:PORT` would be right")
        _require_ip(host, text)
    else:
        host, colon, rest = text.partition(":")
        port_text = rest if colon else None
        if not _HOST_NAME.fullmatch(host):
            raise BadAddress(f"`{text}` is no address; `IP:PORT`, `[IPv6]:PORT` or `NAME:PORT` would be right")
    if port_text is None:
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65_536):
        raise BadAddress(f"`{text}` has no usable port; 1 to 65535 would be right")
    return host, int(port_text)


def _require_ip(host: str, text: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise BadAddress(f"`{text}` has no IPv6 address between the brackets") from None


def announced(host: IpAddress, port: int, interfaces: Iterable[IpAddress]) -> tuple[str, ...]:
    """The addresses a node bound to `host` can be reached at: that one, or those of all interfaces for a wildcard."""
    if not host.is_unspecified:
        return (join(str(host), port),)
    reachable = [address for address in interfaces if host.version == 6 or address.version == 4]
    reachable = [address for address in reachable if not address.is_link_local]
    wanted = [address for address in reachable if not address.is_loopback] or reachable
    return tuple(dict.fromkeys(join(str(address), port) for address in wanted))[:ADDRESSES_MAX]


def of_interfaces() -> list[IpAddress]:
    """All addresses of this machine, in the kernel's order.

    Raises:
        OSError: the kernel does not tell.
    """
    found: list[IpAddress] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.settimeout(2.0)
        netlink.send(struct.pack("=IHHIIBBBBI", 24, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0, 0, 0, 0, 0, 0))
        for _ in range(_REPLIES_MAX):
            if _read_reply(netlink.recv(_REPLY_BYTES), found):
                break
    return found


def _read_reply(reply: bytes, found: list[IpAddress]) -> bool:
    """Add a datagram's addresses; true if it is the last one. Source: rtnetlink(7)."""
    at = 0
    while at + 16 <= len(reply):
        length, kind = struct.unpack_from("=IH", reply, at)
        if kind == _NLMSG_DONE or length < 16:
            return True
        if kind == _RTM_NEWADDR:
            attributes = dict(_attributes(reply[at + 24 : at + length]))
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)  # of a point-to-point link the own end
            if packed is not None:
                found.append(ipaddress.ip_address(packed))
        at += length + 3 & ~3
    return False


def _attributes(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind, data[at + 4 : at + length]
        at += length + 3 & ~3
