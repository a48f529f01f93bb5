"""The small parts of the agent: addresses, identity, stored peers, configuration, the service manager."""

from __future__ import annotations

import ipaddress
import random
import socket
from pathlib import Path

import pytest

from manor.cantal import addresses, agent_config, machine_id, peers_file
from manor.cantal.addresses import BadAddress
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.messages import Record
from manor.cantal.service_manager import ServiceManager


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4:5", ("1.2.3.4", 5)),
        ("1.2.3.4", ("1.2.3.4", 22682)),
        ("[fd00::1]:5", ("fd00::1", 5)),
        ("fd00::1", ("fd00::1", 22682)),
        ("db-1.example:5", ("db-1.example", 5)),
        ("db-1.example", ("db-1.example", 22682)),
    ],
)
def test_what_may_be_written_for_a_peer(text: str, expected: tuple[str, int]) -> None:
    assert addresses.parse_target(text, 22682) == expected


@pytest.mark.parametrize("text", ["", ":5", "a b:5", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:x", "[fd00::1", "[x]:5"])
def test_what_may_not(text: str) -> None:
    with pytest.raises(BadAddress, match=r"would be right|no IPv6"):
        addresses.parse_target(text, 22682)


def test_addresses_of_this_machine_include_loopback() -> None:
    assert ipaddress.ip_address("127.0.0.1") in addresses.of_interfaces()


def test_what_is_announced() -> None:
    found = [*map(ipaddress.ip_address, ("127.0.0.1", "10.0.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1"))]
    any4, any6 = ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::")
    assert addresses.announced(any4, 5, found) == ("10.0.0.1:5",)
    assert addresses.announced(any6, 5, found) == ("10.0.0.1:5", "[fd00::1]:5")
    assert addresses.announced(any4, 5, found[:1]) == ("127.0.0.1:5",)
    assert addresses.announced(found[1], 5, found) == ("10.0.0.1:5",)
    many = [ipaddress.ip_address(f"10.0.1.{number}") for number in range(1, 100)]
    assert len(addresses.announced(any4, 5, many)) == 16


def test_ipv4_in_ipv6_clothes_loses_them() -> None:
    assert addresses.join("::ffff:10.0.0.1", 5) == "10.0.0.1:5"
    assert addresses.split("[fd00::1]:5") == ("fd00::1", 5)


def test_a_machine_id_may_have_dashes_and_white_space() -> None:
    assert machine_id.parse_machine_id(" 12345678-9abc-def0-1234-56789abcdef0\n") == bytes.fromhex(
        "123456789abcdef0123456789abcdef0"
    )
    for bad in ("", "uninitialized", "12" * 15, "0" * 32, "zz" * 16):
        assert machine_id.parse_machine_id(bad) is None


def test_a_missing_machine_id_is_made_up_once(tmp_path: Path) -> None:
    made = machine_id.read_machine_id(tmp_path, tmp_path / "absent")
    assert len(made) == 16
    assert machine_id.read_machine_id(tmp_path, tmp_path / "absent") == made


def _core() -> Gossip:
    record = Record(bytes(15) + b"\1", 7, ("10.0.0.1:1",), "h", "n", 1, "1")
    return Gossip(record, "c", now=0.0, wall_ms=1_700_000_000_000, rng=random.Random(1))


def test_peers_are_read_as_they_were_written(tmp_path: Path) -> None:
    core = _core()
    other = Record(bytes(15) + b"\2", 9, ("10.0.0.2:1", "[fd00::2]:1"), "host", "node", 1, "1")
    core.restore([other], [], 0.0)
    file = tmp_path / "peers.json"
    file.write_bytes(peers_file.snapshot(core))
    stored = peers_file.read(file)
    assert peers_file.records_of(stored) == [other]
    assert peers_file.addresses_of(stored) == list(other.addresses)
    assert stored.own == peers_file.Own(bytes(15).hex() + "01", 7)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"members": 5}', b'{"ip_addresses": ["x", "1.2.3.4:99999", "1.2.3.4:5"]}']
)
def test_a_damaged_list_of_peers_is_no_reason_to_stop(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "peers.json"
    file.write_bytes(content)
    assert peers_file.addresses_of(peers_file.read(file)) in ([], ["1.2.3.4:5"])


def test_agent_yaml_is_read_with_either_spelling(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(
        "gossip: {probe_interval: 500 ms, suspicion-min: 3}\nremote: {idle-close: 1min}\nhttp: {max-body: 4Mi}\n"
    )
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    read = agent_config.read_directory(tmp_path)
    assert read.problems == ()
    assert (read.agent.gossip.probe_interval, read.agent.gossip.suspicion_min) == (0.5, 3.0)
    assert read.agent.remote.idle_close == 60.0
    assert read.agent.http.max_body == 4 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gossip: {probe-deadline: 1s}\n", "agent.yaml:1:26: not longer than probe-timeout-max"),
        ("gossip: {suspicion-max: 1s}\n", "agent.yaml:1:25: shorter than suspicion-min"),
        ("gosip: {}\n", "agent.yaml:1:1: unknown"),
        ("labels: {a: b}\n", "agent.yaml:1:9: `labels` is not supported yet"),
        ("scan: {process-extra: [fds]}\n", "agent.yaml:1:23: `process-extra` is not supported yet"),
        ("scan: {process-metrics: some}\n", "agent.yaml:1:25: not known: `some`"),
    ],
)
def test_a_bad_agent_yaml_is_placed_and_the_old_one_kept(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "agent.yaml").write_text(text)
    before = agent_config.AgentConfig(hide_cmdline=True)
    read = agent_config.read_directory(tmp_path, before)
    assert expected in read.problems[0]
    assert read.agent == before or "not supported" in expected


def test_the_service_manager_hears_of_us(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(5)
        manager = ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})
        manager.ready()
        manager.alive()
        manager.stopping()
        assert [listener.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    ServiceManager({}).ready()
