"""Network links, addresses and routes, through netlink.

pyroute2 is imported when a function is called: the import takes longer than most of what is done with it. Its errors
become OSError, as everywhere in this room. Each function works in the calling thread's network namespace but for the
arguments named `netns_fd`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from manor.kernel import namespaces

if TYPE_CHECKING:
    from pyroute2 import IPRoute

NAME_BYTES_MAX: Final = 15  # linux/if.h: IFNAMSIZ is 16 with the closing zero

_IFA_F_NODAD: Final = 0x02  # linux/if_addr.h: no duplicate detection, which would delay an IPv6 address by a second
_RT_TABLE_MAIN: Final = 254  # linux/rtnetlink.h


def create_bridge(name: str, address: str | None = None) -> None:
    """A bridge that is up, with an address such as `10.77.0.254/24`. One of that name must not exist (EEXIST)."""
    with _netlink(name) as ip:
        ip.link("add", ifname=name, kind="bridge")
        try:
            if address is not None:
                _add_address(ip, _index(ip, name), address)
            ip.link("set", index=_index(ip, name), state="up")
        except BaseException:
            ip.link("del", ifname=name)
            raise


def create_veth(host_name: str, inner_name: str, netns_fd: int, bridge: str | None = None) -> None:
    """A pair of links: the inner one directly in the other namespace, ours attached to the bridge and up.

    Neither exists if this fails. The pair goes when the other namespace goes.
    """
    with _netlink(host_name) as ip:
        master = _index(ip, bridge) if bridge is not None else None
        ip.link("add", ifname=host_name, kind="veth", peer={"ifname": inner_name, "net_ns_fd": netns_fd})
        try:
            index = _index(ip, host_name)
            if master is not None:
                ip.link("set", index=index, master=master)
            ip.link("set", index=index, state="up")
        except BaseException:
            ip.link("del", ifname=host_name)
            raise


def delete_link(name: str) -> bool:
    """Delete a link, with its peer if it has one; False when there is none of that name."""
    with _netlink(name) as ip:
        found = ip.link_lookup(ifname=name)
        if not found:
            return False
        ip.link("del", index=found[0])
        return True


def set_master(name: str, bridge: str | None) -> None:
    """Attach a link to a bridge, or detach it."""
    with _netlink(name) as ip:
        ip.link("set", index=_index(ip, name), master=0 if bridge is None else _index(ip, bridge))


def set_up(name: str) -> None:
    """Bring a link up."""
    with _netlink(name) as ip:
        ip.link("set", index=_index(ip, name), state="up")


def configure(
    netns_fd: int, name: str, address: str | None = None, *, mac: str | None = None, gateway: str | None = None
) -> None:
    """In another namespace: give a link its hardware address and `ADDRESS/PREFIX`, bring it up, set the default route.

    `lo` is brought up along with it; for that alone, name `lo` and nothing else.
    """

    def inside() -> None:
        with _netlink(name) as ip:
            index = _index(ip, name)
            if mac is not None:
                ip.link("set", index=index, address=mac)
            ip.link("set", index=_index(ip, "lo"), state="up")
            if address is not None:
                _add_address(ip, index, address)
            ip.link("set", index=index, state="up")
            if gateway is not None:
                ip.route("add", family=_family(gateway), dst="default", gateway=gateway, oif=index)

    namespaces.in_network_namespace(netns_fd, inside)


def link_names() -> list[str]:
    """The names of all links, in the order of their numbers. No netlink, and so no slow import."""
    return [name for _index_, name in sorted(socket.if_nameindex())]


def routes_ipv4() -> list[str]:
    """Destinations of the main routing table, such as `10.0.0.0/24`; the default route is `0.0.0.0/0`."""
    with _netlink("routes") as ip:
        found = []
        for route in ip.get_routes(family=socket.AF_INET, table=_RT_TABLE_MAIN):
            found.append(f"{route.get_attr('RTA_DST') or '0.0.0.0'}/{route['dst_len']}")
        return found


@contextlib.contextmanager
def _netlink(name: str) -> Iterator[IPRoute]:
    """A netlink socket of the calling thread's namespace; what fails is told as OSError about `name`."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise OSError(errno.EINVAL, f"the name of a link has 1 to {NAME_BYTES_MAX} bytes", name)
    try:
        with IPRoute() as ip:
            yield ip
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code), name) from error


def _index(ip: IPRoute, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    return int(found[0])


def _add_address(ip: IPRoute, index: int, address: str) -> None:
    parsed = ipaddress.ip_interface(address)
    flags = _IFA_F_NODAD if parsed.version == 6 else 0
    ip.addr("add", index=index, address=str(parsed.ip), prefixlen=parsed.network.prefixlen, flags=flags)


def _family(address: str) -> int:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
