"""How an agent begins and ends: flags, sockets, exit statuses, configuration."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from agent_runner import AGENT, Agent, free_port, own_network_namespace, running, wait_until


def _sockets_of(pid: int) -> tuple[set[str], set[str]]:
    """Local addresses of a process: listening TCP, UDP; as `IP:PORT`."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found: dict[str, set[str]] = {"tcp": set(), "udp": set()}
    for kind in found:
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes and (kind == "udp" or words[3] == "0A"):
                ip, port = words[1].split(":")
                found[kind].add(f"{socket.inet_ntoa(int(ip, 16).to_bytes(4, 'little'))}:{int(port, 16)}")
    return found["tcp"], found["udp"]


@pytest.mark.case("cantal-01")
def test_without_flags_it_listens_on_loopback_only_and_does_not_gossip(tmp_path: Path) -> None:
    with own_network_namespace() as namespace:  # where the usual port is free for certain
        _without_flags(Agent(tmp_path, 1, port=22682, namespace=namespace, flags_of_tests=False))


def _without_flags(agent: Agent) -> None:
    with running(agent):
        status = agent.get("/status.json")
        assert {"version", "startup_time", "boot_time"} <= status.keys()
        assert status["num_peers"] == 0
        assert agent.process is not None
        tcp, udp = _sockets_of(agent.process.pid)
        assert tcp == {"127.0.0.1:22682"}
        assert udp == set()
        assert agent.refusal("/add_host.json", {"addr": "127.0.0.1:1"})[0] == 409


def _refused(*flags: str) -> str:
    ended = subprocess.run([AGENT, *flags], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2, ended
    return ended.stderr.strip().splitlines()[-1]


@pytest.mark.case("cantal-02")
def test_a_bad_value_is_one_line_and_exit_status_two(tmp_path: Path) -> None:
    assert "`localhost` is no IP address" in _refused("--host", "localhost")
    assert "`xyz` is no machine id" in _refused("--override-machine-id", "xyz")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = _refused("--port", str(port), "--config-dir", str(tmp_path))
        assert line == f"cantal-agent: cannot bind 127.0.0.1:{port}: address in use"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--port", "0"), "1 to 65535"),
        (("--interval", "199"), "200 to 60000"),
        (("--keep-history", "30s"), "1 minute to 24 hours"),
        (("--keep-history", "soon"), "not a length of time"),
        (("--cluster-name", "a b"), "is no name"),
        (("--join", "a:b:c"), "no usable port"),
        (("--frobnicate",), "unrecognized arguments"),
    ],
)
def test_other_bad_values(flags: tuple[str, ...], text: str) -> None:
    assert text in _refused(*flags)


def test_a_key_file_others_may_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o644)
    assert str(key) in _refused("--cluster-key-file", str(key), "--port", str(free_port()))


def test_a_clean_stop_saves_and_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    agent = Agent(tmp_path, 1, "--storage-dir", str(storage), "--cluster-name", "c")
    with running(agent):
        wait_until(lambda: agent.get("/status.json")["ticks"] > 0)
        line = _refused("--storage-dir", str(storage), "--port", str(free_port()))
        assert str(storage) in line
        assert agent.stop() == 0
    assert (storage / "peers.json").exists()
    assert (storage / "history" / "open.chunk").exists()


def test_problems_of_the_configuration_are_named_and_survived(tmp_path: Path) -> None:
    agent = Agent(tmp_path, 1)
    config = tmp_path / "config" / "agent.yaml"
    config.write_text("scan:\n  status-every: 99\n")
    expected = f"{config}:2:17: 99 is above the maximum 60"
    with running(agent):
        (problem,) = agent.get("/status.json")["config_errors"]
        assert problem.startswith(expected)
    checked = subprocess.run(
        [AGENT, "--check-config", "--config-dir", str(config.parent)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1
    assert checked.stdout.startswith(expected)


def test_what_is_not_there_yet_says_so(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "graphite.carbon.yaml").write_text("host: 127.0.0.1\n")
    agent = Agent(tmp_path, 1)
    with running(agent):
        (problem,) = agent.get("/status.json")["config_errors"]
        assert "not supported yet" in problem
        status, document = agent.refusal("/graphql", {})
        assert (status, document["ok"]) == (501, False)


def test_it_is_healthy_while_it_measures(tmp_path: Path) -> None:
    agent = Agent(tmp_path, 1)
    with running(agent):
        assert agent.get("/healthz") == {"ok": True}
        assert agent.process is not None
