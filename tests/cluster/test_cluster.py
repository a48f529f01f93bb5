"""Several nodes on one bridge: they reach each other, are cut off, lose their power, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.cluster.cluster import Cluster, CommandFailed, clean, own_processes
from manor.config.errors import ManorError
from manor.kernel import cgroups, links, mounts

# Two clusters made at the same moment would choose the same network.
pytestmark = [pytest.mark.system, pytest.mark.alone("cluster")]

# A machine that is there refuses a connection to a port nobody listens on; one that is not lets it time out.
REACHES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=1.0)
except ConnectionRefusedError:
    print("reached")
except OSError:
    print("silence")
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = Path(f"/var/lib/manor-test-cluster-{os.getpid()}")
    yield directory
    clean(directory)
    subprocess.run(["rm", "-rf", directory], check=True)


def label() -> str:
    return f"t{os.getpid() % 1_000_000}"


def reaches(cluster: Cluster, one: str, other: str) -> bool:
    return cluster.run(one, sys.executable, "-c", REACHES, other).strip() == "reached"


def test_nodes_reach_each_other_by_name_until_cut_and_again_when_healed(directory: Path) -> None:
    cluster = Cluster.create(directory, label=label(), count=3)
    for name in cluster.names:
        cluster.start_node(name)
    assert reaches(cluster, "node1", "node2")
    cluster.cut("node2")
    assert not reaches(cluster, "node1", "node2")
    assert reaches(cluster, "node1", "node3")
    cluster.heal("node2")
    assert reaches(cluster, "node1", "node2")
    cluster.kill_node("node2")
    assert not reaches(cluster, "node1", "node2")
    cluster.start_node("node2")
    assert reaches(cluster, "node2", "node1")


def test_another_process_takes_everything_down_after_a_kill(directory: Path) -> None:
    making = (
        "import sys, signal; from pathlib import Path; from manor.cluster.cluster import Cluster\n"
        f"cluster = Cluster.create(Path({str(directory)!r}), label={label()!r}, count=2)\n"
        "for name in cluster.names: cluster.start_node(name)\n"
        "cluster.start_daemon('node1', '/var/log/daemon.log', ['sleep', '1000'])\n"
        "signal.raise_signal(signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", making], timeout=60)
    assert killed.returncode == -9
    left = Cluster.open(directory)
    assert len(own_processes(left.record)) >= 3

    assert clean(directory)

    assert not [name for name in links.link_names() if label() in name]
    assert not [mount for mount in mounts.read_mounts() if str(directory) in mount.target]
    assert cgroups.processes(left.record.cgroup, recursive=True) == []
    assert not any((path / left.record.cgroup.lstrip("/")).exists() for path in cgroups.layout().hierarchies)
    assert not (directory / "nodes").exists()
    assert not clean(directory), "nothing is left to take away"


def test_a_failing_command_is_one_line_with_node_command_and_reason(directory: Path) -> None:
    cluster = Cluster.create(directory, label=label(), count=1)
    cluster.start_node("node1")
    with pytest.raises(CommandFailed, match=r"^node1: ls /nowhere: exit status 2: ls: cannot access '/nowhere'"):
        cluster.run("node1", "ls", "/nowhere")


@pytest.mark.parametrize("count", [0, 31])
def test_an_impossible_number_of_nodes_is_refused(directory: Path, count: int) -> None:
    with pytest.raises(ManorError, match=f"1 to 30 nodes, not {count}"):
        Cluster.create(directory, label=label(), count=count)
    assert not directory.exists()
