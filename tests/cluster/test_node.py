"""A node is a machine of its own, as far as programs in it can tell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.cluster import node
from manor.cluster.node import NodeSpec
from manor.cluster.record import ClusterRecord, write_record
from manor.kernel import cgroups, process

pytestmark = pytest.mark.system


class Machine:
    """One node without a network."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.group = f"/manor-test-{os.getpid()}"
        self.spec = NodeSpec(
            name="alpha",
            address="10.0.0.1",
            machine_id="0123456789abcdef" * 2,
            directory=str(directory / "alpha"),
            cgroup=f"{self.group}/alpha",
            host_link="none",
        )
        self.start()

    def start(self) -> None:
        self.running = node.boot(self.spec)
        record = ClusterRecord(
            bridge="none",
            host_address="10.0.0.254/24",
            cgroup=self.group,
            boot_id=process.boot_id(),
            nodes={"alpha": self.spec},
            running={"alpha": self.running},
        )
        write_record(self.directory, record)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = [sys.executable, "-m", "manor.cluster.enter", "--cluster", str(self.directory), "alpha"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not below /tmp: upper layers must lie on a disk, which a temporary file system need not be.
    directory = Path(f"/var/lib/manor-test-{os.getpid()}")
    machine = Machine(directory)
    yield machine
    node.kill(machine.running)
    cgroups.remove(machine.group)
    subprocess.run(["rm", "-rf", directory], check=True)


def test_a_node_has_its_own_name_processes_groups_and_directories(machine: Machine) -> None:
    assert machine.run("hostname").stdout == "alpha\n"
    assert machine.run("cat", "/proc/1/comm").stdout == "manor-init\n"
    assert set(machine.run("cut", "-d:", "-f3", "/proc/self/cgroup").stdout.split()) == {"/"}
    assert machine.run("ls", "/run").stdout == ""
    assert os.listdir("/proc/self/fd")  # the host still has its own


def test_what_a_node_writes_is_its_own_and_outlives_a_loss_of_power(machine: Machine) -> None:
    assert (
        machine.run(
            "sh", "-c", "echo kept > /usr/local/kept; echo kept > /var/lib/kept; echo gone > /tmp/gone"
        ).returncode
        == 0
    )
    assert not Path("/usr/local/kept").exists()
    assert not Path("/var/lib/kept").exists()

    node.kill(machine.running)
    assert not node.is_alive(machine.running)
    machine.start()

    assert machine.run("cat", "/usr/local/kept", "/var/lib/kept").stdout == "kept\nkept\n"
    assert machine.run("test", "-e", "/tmp/gone").returncode == 1


def test_the_status_of_a_command_is_passed_on(machine: Machine) -> None:
    assert machine.run("sh", "-c", "exit 7").returncode == 7
    assert machine.run("sh", "-c", "kill -TERM $$").returncode == 128 + 15
    missing = machine.run("/no/such/program")
    assert (missing.returncode, missing.stderr) == (127, "/no/such/program: No such file or directory\n")


def test_a_dead_node_cannot_be_entered(machine: Machine) -> None:
    node.kill(machine.running)
    refused = machine.run("true")
    assert (refused.returncode, refused.stderr) == (255, "cannot enter alpha: node alpha does not run\n")


def test_killing_a_node_ends_every_process_in_it(machine: Machine) -> None:
    assert (
        machine.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & setsid sleep 1001 >/dev/null 2>&1 &").returncode
        == 0
    )
    members = cgroups.processes(machine.group, recursive=True)
    assert len(members) >= 3
    node.kill(machine.running)
    assert cgroups.processes(machine.group, recursive=True) == []
