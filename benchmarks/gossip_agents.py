"""Thirty real agents on one machine, beside thirty of serf, with the defaults of both.

Both clusters run at the same time, and what every agent knows is read from its log. `All know all` counts from the
moment all agents but the first are told the address of the first; a death from the SIGKILL. Our agents measure their
machine only once a minute here: thirty of them on one machine are thirty times its work, and gossip is the question.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import children
from benchmarks.measure import Row, Size, find_peer
from benchmarks.ports import free_ports

# Small input: a death is to be known in a second, which no defaults of a network allow.
HASTE = """\
gossip: {probe-interval: 100ms, probe-timeout-min: 50ms, probe-timeout-max: 200ms, probe-deadline: 300ms,
         suspicion-min: 300ms}
"""


def run(size: Size) -> Iterable[Row]:
    agents, deaths = (30, 3) if size is Size.FULL else (3, 1)
    program = find_peer("serf", "serf", size)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-bench-"))).resolve()
        clusters = [stack.enter_context(cantal(directory / "cantal", agents, size))]
        if program is not None:
            clusters.append(stack.enter_context(serf(program, directory / "serf", agents, size)))
        known_s = [cluster.introduce_s() for cluster in clusters]
        died_s = [death_s(clusters) for _ in range(deaths)]
    died_s_median = [statistics.median(one) for one in zip(*died_s, strict=True)]
    for what, (ours_s, *peers_s), note in (
        ("all know all", known_s, "once"),
        ("a death is known by all", died_s_median, f"of {deaths}"),
    ):
        yield Row(f"{agents} agents: {what}", ours_s, "s", *(("serf", *peers_s) if peers_s else ()), note=note)


@dataclass(slots=True)
class Member:
    """One agent: its name in the others' logs, and its own log."""

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]


@dataclass(slots=True)
class Cluster:
    """Agents of one kind. In their logs the first group of `joined` and `died` is a member's name."""

    introduce: Callable[[Sequence[Member]], object]
    joined: re.Pattern[str]
    died: re.Pattern[str]
    members: list[Member] = field(default_factory=list)

    def wait_started(self, said: str) -> None:
        """Until this stands in every log."""

        def started(member: Member) -> bool:
            if member.process.poll() is not None:
                raise RuntimeError(f"an agent ended at once; its log: {member.log.read_text()}")
            return said in member.log.read_text()

        children.wait_until(lambda: all(map(started, self.members)), f"`{said}` in every log")

    def introduce_s(self) -> float:
        began = time.perf_counter()
        self.introduce(self.members)
        children.wait_until(lambda: all(map(self._knows_all, self.members)), "all know all")
        return time.perf_counter() - began

    def _knows_all(self, member: Member) -> bool:
        others = {other.name for other in self.members if other is not member}
        return others <= set(self.joined.findall(member.log.read_text()))

    def kill_one(self) -> str:
        """The last one; its name."""
        victim = self.members.pop()
        victim.process.kill()
        victim.process.wait()
        return victim.name

    def all_know_death_of(self, name: str) -> bool:
        return all(name in self.died.findall(member.log.read_text()) for member in self.members)


def death_s(clusters: Sequence[Cluster]) -> list[float]:
    """One agent of each cluster dies; seconds until all others of its cluster know."""
    killed = [(cluster, cluster.kill_one(), time.perf_counter()) for cluster in clusters]
    known_at: dict[int, float] = {}

    def all_known() -> bool:
        for number, (cluster, name, _) in enumerate(killed):
            if number not in known_at and cluster.all_know_death_of(name):
                known_at[number] = time.perf_counter()
        return len(known_at) == len(killed)

    children.wait_until(all_known, "all know of a death")
    return [known_at[number] - at for number, (_, _, at) in enumerate(killed)]


@contextlib.contextmanager
def cantal(directory: Path, agents: int, size: Size) -> Iterator[Cluster]:
    (directory / "config").mkdir(parents=True)
    if size is Size.SMALL:
        (directory / "config/agent.yaml").write_text(HASTE)
    ports = free_ports(agents)

    def introduce(members: Sequence[Member]) -> None:
        first, *others = members
        body = json.dumps({"addr": f"127.0.0.1:{first.port}"}).encode()
        for other in others:
            urllib.request.urlopen(f"http://127.0.0.1:{other.port}/add_host.json", body, timeout=10).close()

    cluster = Cluster(
        introduce,
        joined=re.compile(r"gossip\.member id=(\w+) before=\S+ after=alive"),
        died=re.compile(r"gossip\.member id=(\w+) before=\S+ after=dead"),
    )
    with contextlib.ExitStack() as stack:
        for number, port in enumerate(ports):
            name, log = f"{port:032x}", directory / f"agent{number}.log"
            words = [children.ours("cantal-agent"), "--port", str(port), "--cluster-name", f"bench-{ports[0]}"]
            words += ["--override-machine-id", name, "--config-dir", str(directory / "config"), "--interval", "60000"]
            process = stack.enter_context(children.running(words, log=log))
            cluster.members.append(Member(name, port, log, process))
        cluster.wait_started("agent.started")
        yield cluster


@contextlib.contextmanager
def serf(program: str, directory: Path, agents: int, size: Size) -> Iterator[Cluster]:
    directory.mkdir()
    ports, rpc_ports = free_ports(agents), free_ports(agents)

    def introduce(members: Sequence[Member]) -> None:
        with contextlib.ExitStack() as all_at_once:
            for rpc_port in rpc_ports[1:]:
                words = [program, "join", f"-rpc-addr=127.0.0.1:{rpc_port}", f"127.0.0.1:{members[0].port}"]
                all_at_once.enter_context(subprocess.Popen(words, stdout=subprocess.DEVNULL))

    cluster = Cluster(
        introduce,
        joined=re.compile(r"EventMemberJoin: (\S+)"),
        died=re.compile(r"EventMemberFailed: (\S+)"),
    )
    with contextlib.ExitStack() as stack:
        for number, (port, rpc_port) in enumerate(zip(ports, rpc_ports, strict=True)):
            name, log = f"member{number}", directory / f"agent{number}.log"
            words = [program, "agent", f"-node={name}", f"-bind=127.0.0.1:{port}", f"-rpc-addr=127.0.0.1:{rpc_port}"]
            words += [f"-profile={'lan' if size is Size.FULL else 'local'}"]
            process = stack.enter_context(children.running(words, log=log))
            cluster.members.append(Member(name, port, log, process))
        cluster.wait_started("EventMemberJoin")
        yield cluster
