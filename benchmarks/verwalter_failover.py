"""The leader of three dies: how long until another leads, beside three of etcd, with the defaults of both.

The daemons are real, on loopback addresses; what cantal would say of the peers is made up and never changes, so that
verwalter itself has to notice the death. The dead one is started again before the next dies.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from verwalter_cluster import QUICK, Cluster

from benchmarks import children
from benchmarks.measure import Row, Size, find_peer, in_turn
from benchmarks.ports import free_ports

NAMES = ("alpha", "beta", "gamma")
POLLED_EVERY_S = 0.02


def run(size: Size) -> Iterable[Row]:
    runs = 4 if size is Size.FULL else 1
    program = find_peer("etcd", "etcd-server", size)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-bench-"))).resolve()
        fail_over = [stack.enter_context(verwalter(directory, "" if size is Size.FULL else QUICK))]
        if program is not None:
            fail_over.append(stack.enter_context(etcd(program, directory)))
        ours_s, *peers_s = in_turn(runs, *fail_over)
    yield Row("from the leader's death until another leads", ours_s, "s", *(("etcd", *peers_s) if peers_s else ()))


@contextlib.contextmanager
def verwalter(directory: Path, settings: str) -> Iterator[Callable[[], float]]:
    cluster = Cluster(directory, NAMES, settings=settings)

    def fail_over_s() -> float:
        leader = cluster.wait_leader()
        began = time.perf_counter()
        cluster.kill(leader)
        children.wait_until(cluster.leaders, "another leader", every_s=POLLED_EVERY_S)
        took_s = time.perf_counter() - began
        cluster.start(leader)
        return took_s

    with contextlib.closing(cluster):
        cluster.start()
        yield fail_over_s


@contextlib.contextmanager
def etcd(program: str, directory: Path) -> Iterator[Callable[[], float]]:
    ports = free_ports(2 * len(NAMES))
    clients, peers = dict(zip(NAMES, ports[:3], strict=True)), dict(zip(NAMES, ports[3:], strict=True))
    members: dict[str, subprocess.Popen[bytes]] = {}

    with contextlib.ExitStack() as stack:

        def start(name: str) -> None:
            at, to_peers = f"http://127.0.0.1:{clients[name]}", f"http://127.0.0.1:{peers[name]}"
            words = [program, "--name", name, "--data-dir", directory / f"etcd-{name}", "--log-level", "error"]
            words += ["--listen-client-urls", at, "--advertise-client-urls", at]
            words += ["--listen-peer-urls", to_peers, "--initial-advertise-peer-urls", to_peers]
            words += ["--initial-cluster", ",".join(f"{n}=http://127.0.0.1:{port}" for n, port in peers.items())]
            members[name] = stack.enter_context(children.running(words, log=directory / f"etcd-{name}.log"))

        def leaders() -> list[str]:
            return [name for name in members if leads(clients[name])]

        def fail_over_s() -> float:
            [leader] = children.wait_until(leaders, "a leader of etcd")
            began = time.perf_counter()
            members[leader].kill()
            members.pop(leader).wait()
            children.wait_until(leaders, "another leader of etcd", every_s=POLLED_EVERY_S)
            took_s = time.perf_counter() - began
            start(leader)
            return took_s

        for name in NAMES:
            start(name)
        yield fail_over_s


def leads(port: int) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", b"{}")
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            answer = json.load(response)
    except OSError:  # it starts, or has no leader
        return False
    return bool(answer.get("leader") == answer["header"]["member_id"])
