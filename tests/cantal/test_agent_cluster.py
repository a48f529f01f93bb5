"""Several real agents on one machine find, watch and forget each other."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_runner import Agent, free_port, introduce, running, wait_until


def _agents(directory: Path, count: int, *flags: str, storage: bool = False) -> list[Agent]:
    return [
        Agent(
            directory,
            number,
            "--cluster-name",
            "test",
            *flags,
            *(("--storage-dir", str(directory / f"storage-{number}")) if storage else ()),
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.case("cantal-39", "cantal-47")
def test_three_agents_know_each_other_after_one_introduction_each(tmp_path: Path) -> None:
    agents = _agents(tmp_path, 3)
    with running(*agents):
        introduce(agents)
        began = time.monotonic()
        while not all(agent.sees_alive(agents) for agent in agents):
            for agent in agents:
                for peer in agent.peers().values():
                    _assert_complete(peer)
            assert time.monotonic() - began < 30
        for agent in agents:
            others = wait_until(lambda agent=agent: _with_roundtrips(agent))  # type: ignore[misc]
            assert set(others) == {other.id for other in agents if other is not agent}
            for other in agents:
                if other is not agent:
                    peer = others[other.id]
                    assert peer["name"] == f"node-{int(other.id, 16)}"
                    assert peer["hostname"] == socket.gethostname()
                    assert peer["primary_addr"] == other.address
                    assert peer["addresses"] == [other.address]
                    assert peer["last_roundtrip"][0] == other.address
                    _assert_complete(peer)


def _with_roundtrips(agent: Agent) -> dict[str, dict[str, object]] | None:
    peers = agent.peers()
    return peers if all(peer["last_roundtrip"] and peer["report"] for peer in peers.values()) else None


def _assert_complete(peer: dict[str, object]) -> None:
    """Both legacy forms of the fields, the first seven never null, all times whole numbers."""
    for name in ("id", "hostname", "name", "addresses", "known_since"):
        assert peer[name] is not None, name
    for name in ("known_since", "state_since", "incarnation"):
        assert type(peer[name]) is int
    for name in ("last_report_direct", "last_report", "probe_time"):
        assert peer[name] is None or type(peer[name]) is int
    legacy = ("primary_addr", "last_probe", "probes_sent", "pings_received", "pongs_received", "last_roundtrip")
    flat = ("random_peer_roundtrip", "report", "roundtrip", "peers", "has_remote", "probe_addr")
    assert {*legacy, *flat} <= peer.keys()
    assert peer["state"] in ("alive", "suspect", "dead", "left", "unconfirmed")


@pytest.fixture
def tapped_loopback() -> Iterator[list[bytes]]:
    """Every UDP datagram on the loopback interface from here on."""
    seen: list[bytes] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as tap:
        tap.bind(("lo", 0))
        tap.settimeout(0.2)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    seen.append(tap.recv(65_536))
                except TimeoutError:
                    continue

        listener = threading.Thread(target=listen)
        listener.start()
        yield seen
        stop.set()
        listener.join()


@pytest.mark.case("cantal-40")
def test_other_names_and_other_keys_are_other_clusters(tmp_path: Path, tapped_loopback: list[bytes]) -> None:
    keys = []
    for number in (1, 2):
        key = tmp_path / f"key-{number}"
        key.write_text(f"{number:064x}\n")
        key.chmod(0o600)
        keys.append(("--cluster-key-file", str(key)))
    first = Agent(tmp_path, 1, "--cluster-name", "red", *keys[0])
    friend = Agent(tmp_path, 2, "--cluster-name", "red", *keys[0])
    other_name = Agent(tmp_path, 3, "--cluster-name", "blue", *keys[0])
    other_key = Agent(tmp_path, 4, "--cluster-name", "red", *keys[1])
    with running(first, friend, other_name, other_key) as agents:
        introduce(agents)
        wait_until(lambda: first.sees_alive([friend]) and friend.sees_alive([first]))
        wait_until(lambda: first.get("/status.json")["gossip"]["foreign_cluster"] > 0)
        wait_until(lambda: first.get("/status.json")["gossip"]["bad_seal"] > 0)
        assert set(first.peers()) == {friend.id}
        assert set(friend.peers()) == {first.id}
        assert other_name.peers() == {} == other_key.peers()
        assert first.get("/status.json")["gossip"]["sealed"] is True
    assert first.log.read_text().count("reason=bad_seal") == 1  # once a minute, whatever comes
    ports = {agent.port for agent in agents}
    gossip = [frame for frame in tapped_loopback if frame[23] == 17 and int.from_bytes(frame[34:36], "big") in ports]
    assert gossip
    assert not [frame for frame in gossip if socket.gethostname().encode() in frame[42:] and b"node-" in frame[42:]]
    assert not [frame for frame in gossip if b"node-" in frame or b"red" in frame]


@pytest.mark.case("cantal-41")
def test_a_killed_agent_is_dead_for_the_others_and_a_quick_restart_goes_unnoticed(tmp_path: Path) -> None:
    agents = _agents(tmp_path, 3)
    first, second, third = agents
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))

        second.kill()
        states = []
        until = time.monotonic() + 2
        second.start()
        second.post("/add_host.json", {"addr": first.address})
        while time.monotonic() < until or not second.sees_alive(agents):
            states += [first.state_of(second), third.state_of(second)]
            time.sleep(0.1)
        assert "dead" not in states
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))

        third.kill()
        # ten seconds on a machine that has time; scenario 13 proves them on a virtual clock
        wait_until(lambda: first.state_of(third) == "dead" and second.state_of(third) == "dead")
        assert first.peers()[third.id]["available"] is False
        assert first.get("/status.json")["gossip"]["dead"] == 1


@pytest.mark.case("cantal-43")
def test_a_cluster_that_was_stopped_finds_itself_by_what_it_stored(tmp_path: Path) -> None:
    agents = _agents(tmp_path, 4, storage=True)
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        for agent in agents:
            assert agent.stop() == 0
        order = [agents[2], agents[0], agents[3], agents[1]]
        for agent in order:
            agent.start()
            time.sleep(2)  # part of the story: they start over some time
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents), within=60)


def test_kill_nine_loses_no_old_peer_list(tmp_path: Path) -> None:
    agents = _agents(tmp_path, 2, storage=True)
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        peers = tmp_path / "storage-1" / "peers.json"
        wait_until(lambda: peers.exists() and agents[1].id in peers.read_text(), within=60)
        agents[0].kill()
        assert json.loads(peers.read_text())["ip_addresses"] == [agents[1].address]


@pytest.mark.case("cantal-44")
def test_what_add_host_answers(tmp_path: Path) -> None:
    alone = Agent(tmp_path, 1)
    first, second = Agent(tmp_path, 2, "--cluster-name", "c"), Agent(tmp_path, 3, "--cluster-name", "c")
    with running(alone, first, second):
        status, document = alone.refusal("/add_host.json", {"addr": second.address})
        assert (status, document["ok"]) == (409, False)
        for body in ({"addr": "x"}, {}, b"no json", {"addr": "1.2.3.4:99999"}, {"addr": "1.2.3.4", "wait": -1}, []):
            status, document = first.refusal("/add_host.json", body)
            assert (status, document["ok"]) == (400, False)
            assert "\n" not in document["error"]
        assert first.post("/add_host.json", {"addr": f"localhost:{second.port}"}) == {"ok": True}
        answer = first.post("/add_host.json", {"addr": second.address, "wait": 5000})
        assert answer == {"ok": True, "state": "alive", "id": second.id}
        silent = f"127.0.0.1:{free_port()}"
        answer = first.post("/add_host.json", {"addr": silent, "wait": 500})
        assert answer == {"ok": True, "state": "unanswered", "id": None}


@pytest.mark.case("cantal-45")
def test_two_agents_with_one_machine_id_both_say_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = Agent(tmp_path / "a", 7, "--cluster-name", "c")
    two = Agent(tmp_path / "b", 7, "--cluster-name", "c")
    with running(one, two):
        one.post("/add_host.json", {"addr": two.address})
        wait_until(lambda: one.get("/status.json")["duplicate_machine_id"] == two.address)
        wait_until(lambda: two.get("/status.json")["duplicate_machine_id"] == one.address)
        for agent in (one, two):
            assert agent.peers() == {}
            assert agent.log.read_text().count("gossip.duplicate_machine_id") == 1


def test_leaving_and_being_forgotten(tmp_path: Path) -> None:
    agents = _agents(tmp_path, 3)
    first, second, third = agents
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))

        status, _ = first.refusal("/remove_host.json", {"id": third.id})
        assert status == 409

        assert third.post("/leave.json", {}) == {"ok": True}
        wait_until(lambda: first.state_of(third) == "left" and second.state_of(third) == "left")
        assert first.post("/remove_host.json", {"id": third.id}) == {"ok": True}
        wait_until(lambda: third.id not in first.peers() and third.id not in second.peers())
        assert first.get("/status.json")["num_peers"] == 1

        third.kill()
        third.start()
        third.post("/add_host.json", {"addr": first.address})
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))


def test_join_at_start_needs_no_call(tmp_path: Path) -> None:
    first = Agent(tmp_path, 1, "--cluster-name", "c")
    second = Agent(tmp_path, 2, "--cluster-name", "c", "--join", first.address)
    with running(first, second):
        wait_until(lambda: first.sees_alive([second]) and second.sees_alive([first]))


def test_a_hangup_reads_the_key_anew(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    agents = _agents(tmp_path, 2, "--cluster-key-file", str(key))
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        key.write_text("22" * 32 + "\n" + "11" * 32)
        agents[0].signal(signal.SIGHUP)
        wait_until(lambda: agents[1].get("/status.json")["gossip"]["bad_seal"] > 0)
        agents[1].signal(signal.SIGHUP)
        before = agents[0].peers()[agents[1].id]["pongs_received"]
        wait_until(lambda: agents[0].peers()[agents[1].id]["pongs_received"] > before + 1)
        assert agents[0].sees_alive(agents)
