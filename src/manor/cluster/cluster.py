"""Several nodes on one bridge of this machine.

A `Cluster` is a directory (disks of the nodes, `cluster.json`) and whatever runs. Every change is recorded before it
is made, so that `take_down` from another process, after a `kill -9` of the first, leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from manor.cluster import node, record
from manor.cluster.node import NodeSpec, Running
from manor.cluster.record import ClusterRecord, NoCluster, read_record, write_record
from manor.config.errors import ManorError
from manor.kernel import cgroups, links, process

COMMAND_TIMEOUT_S = 120.0
NODES_MAX = 30
# Tried in this order; the first that no route of this machine touches is taken.
NETWORKS = ("10.77.0.0/24", "10.177.0.0/24", "172.29.77.0/24", "192.168.177.0/24")


class CommandFailed(ManorError):
    """node1: lithos_switch site new.yaml: exit status 1: /etc/lithos/..."""


class Cluster:
    """A running (or half taken down) cluster. Methods block; none is safe to call from two threads at once."""

    def __init__(self, directory: Path, record: ClusterRecord) -> None:
        self.directory = directory
        self.record = record

    @classmethod
    def create(cls, directory: Path, *, label: str, count: int, kept: Mapping[str, Path] = {}) -> Cluster:
        """Make the bridge for nodes `node1` to `nodeN`; nothing runs yet.

        Args:
            label: up to 8 characters, unique on this machine; names the bridge, the links and the cgroup.
            count: 1 to NODES_MAX.
            kept: directory in every node -> directory of the host below which each node has its own, by its name;
                what is in there outlives the cluster.
        """
        if not 1 <= count <= NODES_MAX:
            raise ManorError(f"a cluster on one machine has 1 to {NODES_MAX} nodes, not {count}")
        network = ipaddress.ip_network(free_network())
        hosts = list(network.hosts())
        names = [f"node{number}" for number in range(1, count + 1)]
        record = ClusterRecord(
            bridge=f"mnr-{label}",
            host_address=f"{hosts[-1]}/{network.prefixlen}",
            cgroup=f"/manor-{label}",
            boot_id=process.boot_id(),
            nodes={
                name: NodeSpec(
                    name=name,
                    address=str(address),
                    machine_id=random.SystemRandom().randbytes(16).hex(),
                    directory=str(directory / "nodes" / name),
                    cgroup=f"/manor-{label}/{name}",
                    host_link=f"{label}-{name.removeprefix('node')}",
                    kept={inner: str(outer / name) for inner, outer in kept.items()},
                )
                for name, address in zip(names, hosts, strict=False)
            },
            running={},
        )
        write_record(directory, record)
        cluster = cls(directory, record)
        links.create_bridge(record.bridge, record.host_address)
        return cluster

    @classmethod
    def open(cls, directory: Path) -> Cluster:
        return cls(directory, read_record(directory))

    @property
    def names(self) -> list[str]:
        return list(self.record.nodes)

    def spec(self, name: str) -> NodeSpec:
        return self.record.nodes[name]

    def is_alive(self, name: str) -> bool:
        running = self.record.running.get(name)
        return running is not None and node.is_alive(running)

    def start_node(self, name: str) -> Running:
        """Boot a node with the disk it had, and plug in its network."""
        spec = self.spec(name)
        etc = node.layer(spec, "etc")
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "machine-id").write_text(spec.machine_id + "\n")
        (etc / "hostname").write_text(name + "\n")
        (etc / "hosts").write_text(self.hosts_file())
        running = node.boot(spec)
        self.record.running[name] = running
        write_record(self.directory, self.record)
        with open(f"/proc/{running.pid}/ns/net", "rb") as network:
            links.create_veth(spec.host_link, node.INNER_LINK, network.fileno(), self.record.bridge)
            prefix = self.record.host_address.partition("/")[2]
            links.configure(network.fileno(), node.INNER_LINK, f"{spec.address}/{prefix}")
        return running

    def hosts_file(self) -> str:
        lines = ["127.0.0.1 localhost"]
        lines += [f"{spec.address} {spec.name}" for spec in self.record.nodes.values()]
        return "\n".join(lines) + "\n"

    def kill_node(self, name: str) -> None:
        """Take a node's power away. Its disk stays."""
        running = self.record.running.pop(name, None)
        if running is not None:
            node.kill(running)
            write_record(self.directory, self.record)
        with contextlib.suppress(OSError):  # the kernel may have been faster: the link goes with the namespace
            links.delete_link(self.spec(name).host_link)
        with contextlib.suppress(OSError):
            cgroups.remove(self.spec(name).cgroup)

    def cut(self, name: str) -> None:
        """Unplug a node from the bridge: packets in both directions are lost without a sign."""
        links.set_master(self.spec(name).host_link, None)

    def heal(self, name: str) -> None:
        links.set_master(self.spec(name).host_link, self.record.bridge)

    def file(self, name: str, path: str) -> Path:
        """A file of a running node, as this process reaches it."""
        return node.path_in(self.record.running[name], path)

    def enter_command(self) -> list[str]:
        """The command that runs another in a node: append the node's name and the command."""
        return [sys.executable, "-m", "manor.cluster.enter", "--cluster", str(self.directory)]

    def run(self, name: str, *command: str, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> str:
        """Run a command in a node and return what it printed on standard output.

        Raises:
            CommandFailed: on a status other than 0, with the last line of its standard error; not if `check` is off.
        """
        done = subprocess.run(
            [*self.enter_command(), name, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise CommandFailed(f"{name}: {' '.join(command)}: exit status {done.returncode}: {said[-1]}")
        return done.stdout

    def start_daemon(self, name: str, log: str, command: Sequence[str]) -> None:
        """Leave a daemon running in a node."""
        subprocess.run(
            [*self.enter_command(), "--detach", log, name, *command],
            check=True,
            timeout=COMMAND_TIMEOUT_S,
        )

    def take_down(self) -> None:
        """End every node and remove bridge, links, cgroups and disks. What is gone already is fine."""
        same_boot = self.record.boot_id == process.boot_id()
        for name in self.names:
            if same_boot:
                self.kill_node(name)
        with contextlib.suppress(OSError):
            links.delete_link(self.record.bridge)
        with contextlib.suppress(OSError):
            cgroups.remove(self.record.cgroup)
        shutil.rmtree(self.directory / "nodes", ignore_errors=True)
        for file in ("token", record.FILE):  # the record last: while it is there, somebody can try again
            (self.directory / file).unlink(missing_ok=True)


def clean(directory: Path) -> bool:
    """Take away what a killed process left. Returns whether there was anything."""
    try:
        cluster = Cluster.open(directory)
    except NoCluster:
        return False
    cluster.take_down()
    return True


def free_network() -> str:
    """The first of NETWORKS that overlaps no route of this machine."""
    routes = [ipaddress.ip_network(text) for text in links.routes_ipv4()]
    for candidate in NETWORKS:
        if not any(ipaddress.ip_network(candidate).overlaps(route) for route in routes if route.prefixlen > 0):
            return candidate
    raise ManorError(f"none of {', '.join(NETWORKS)} is free on this machine; remove a route to one of them")


def own_processes(record: ClusterRecord) -> list[int]:
    """Host pids in the cluster's cgroups; empty after `take_down`."""
    return sorted(pid for pid in cgroups.processes(record.cgroup, recursive=True) if pid != os.getpid())
