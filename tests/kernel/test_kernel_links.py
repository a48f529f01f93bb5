"""Links between network namespaces that belong to the test alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from own_namespaces import in_own_namespaces

from manor.kernel import links, mounts, namespaces

T = TypeVar("T")


def between_two_namespaces(place: Path, story: Callable[[int], T]) -> T:
    """Call the story in a new network namespace, with the descriptor of one more."""

    def inside() -> T:
        mounts.mount("sysfs", "/sys", "sysfs")  # that of the new namespace
        namespaces.create_network_namespace(place / "netns")
        fd = os.open(place / "netns", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return story(fd)
        finally:
            os.close(fd)
            namespaces.remove_network_namespace(place / "netns")
            assert not (place / "netns").exists()

    return in_own_namespaces(inside, namespaces.NEWNS | namespaces.NEWNET)


def test_a_bridged_namespace_is_reached_by_address(tmp_path: Path) -> None:
    def story(other: int) -> tuple[bytes, list[str], list[str], str, str]:
        links.create_bridge("br0", "10.77.0.254/24")
        links.create_veth("li_a_0001", "li-a-0001", other, "br0")
        mac = "02:ca:02:f9:b5:ae"
        links.configure(other, "li-a-0001", "10.77.0.1/24", mac=mac, gateway="10.77.0.254")
        listening = namespaces.in_network_namespace(other, lambda: socket.create_server(("10.77.0.1", 80)))
        with socket.create_connection(("10.77.0.1", 80), timeout=30):
            connection, (peer, _) = listening.accept()
            connection.close()
            listening.close()
        names = namespaces.in_network_namespace(other, links.link_names)
        routes = namespaces.in_network_namespace(other, links.routes_ipv4)
        address = namespaces.in_network_namespace(other, lambda: mac_of("li-a-0001"))
        return peer.encode(), names, sorted(routes), address, links.routes_ipv4()[0]

    peer, names, routes, address, own_route = between_two_namespaces(tmp_path, story)
    assert peer == b"10.77.0.254"
    assert names == ["lo", "li-a-0001"]
    assert routes == ["0.0.0.0/0", "10.77.0.0/24"]
    assert address == "02:ca:02:f9:b5:ae"
    assert own_route == "10.77.0.0/24"


def mac_of(name: str) -> str:
    """By a packet socket: the namespace's sysfs is not mounted here."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((name, 0))
        return ":".join(f"{byte:02x}" for byte in one.getsockname()[4])


def test_an_ipv6_address_can_be_used_at_once(tmp_path: Path) -> None:
    def story(other: int) -> int:
        links.create_veth("li_b", "li-b", other)
        links.configure(other, "li-b", "fd00::a:1/64")
        with namespaces.in_network_namespace(
            other, lambda: socket.create_server(("fd00::a:1", 0), family=socket.AF_INET6)
        ) as server:
            return int(server.getsockname()[1])

    assert between_two_namespaces(tmp_path, story) > 0


def test_loopback_alone_is_brought_up(tmp_path: Path) -> None:
    def story(other: int) -> bool:
        links.configure(other, "lo")

        def talk() -> bool:
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), timeout=30).close()
            return True

        return namespaces.in_network_namespace(other, talk)

    assert between_two_namespaces(tmp_path, story)


def test_a_link_is_deleted_with_its_peer_and_once(tmp_path: Path) -> None:
    def story(other: int) -> list[object]:
        links.create_veth("li_c", "li-c", other)
        return [
            links.delete_link("li_c"),
            links.delete_link("li_c"),
            namespaces.in_network_namespace(other, links.link_names),
        ]

    assert between_two_namespaces(tmp_path, story) == [True, False, ["lo"]]


def test_a_link_changes_its_bridge(tmp_path: Path) -> None:
    def story(other: int) -> list[str]:
        links.create_bridge("br1")
        links.create_bridge("br2")
        links.create_veth("li_d", "li-d", other, "br1")
        seen = []
        for bridge in ("br2", None, "br1"):
            links.set_master("li_d", bridge)
            master = Path("/sys/class/net/li_d/master")
            seen.append(os.path.basename(os.readlink(master)) if master.exists() else "")
        return seen

    assert between_two_namespaces(tmp_path, story) == ["br2", "", "br1"]


def test_what_fails_leaves_nothing_and_is_told_as_an_os_error(tmp_path: Path) -> None:
    def story(other: int) -> list[str]:
        links.create_bridge("br0")
        failures = []
        for attempt in (
            lambda: links.create_bridge("br0"),
            lambda: links.create_veth("li_e", "li-e", other, "no-bridge"),
            lambda: links.create_bridge("br3", "10.0.0.1/24 "),
            lambda: links.configure(other, "no-link", "10.0.0.1/24"),
            lambda: links.delete_link("sixteen-bytes-ab"),
        ):
            try:
                attempt()
            except (OSError, ValueError) as error:
                failures.append(str(error))
        assert links.link_names() == ["lo", "br0"]
        return failures

    assert between_two_namespaces(tmp_path, story) == [
        "[Errno 17] File exists: 'br0'",
        "[Errno 19] No such device: 'no-bridge'",
        "'10.0.0.1/24 ' does not appear to be an IPv4 or IPv6 interface",
        "[Errno 19] No such device: 'no-link'",
        "[Errno 22] the name of a link has 1 to 15 bytes: 'sixteen-bytes-ab'",
    ]


def test_an_exception_in_another_namespace_comes_back(tmp_path: Path) -> None:
    def story(other: int) -> str:
        def fail() -> None:
            raise RuntimeError("from inside")

        with pytest.raises(RuntimeError, match="from inside"):
            namespaces.in_network_namespace(other, fail)
        return "back"

    assert between_two_namespaces(tmp_path, story) == "back"
