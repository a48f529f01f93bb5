"""What an agent costs that watches 1,000 processes and 10,000 published numbers.

The crowd lives in a pid namespace with a /proc of its own, so that the agent sees it and nothing else. Three in ten of
the numbers change between two ticks. Beside the agent stand an agent that has nothing to watch, and the plain loop
that a script would be: open, read and split the same files at every tick, keep nothing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import children
from benchmarks.measure import Row, Size
from benchmarks.ports import free_ports
from benchmarks.rootfs import BUSYBOX

PAIRS = 10  # of files that hold the numbers
CHANGING = 0.3  # of the numbers, from tick to tick
INTERVAL_S = 2.0
CPUCLOCK_SCHED = 2  # clock_getcpuclockid(3) makes the number of a process's clock so


def run(size: Size) -> Iterable[Row]:
    processes, metrics, ticks, interval_s = (1000, 10_000, 10, INTERVAL_S) if size is Size.FULL else (20, 100, 3, 0.2)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-bench-"))).resolve()
        published = Published(directory, metrics)
        pairs = [published.path(number) for number in range(PAIRS)]
        crowded = stack.enter_context(Agent.running(directory / "crowded", interval_s, pairs, processes - PAIRS))
        idle = stack.enter_context(Agent.running(directory / "idle", interval_s, [], 0))
        children.wait_until(
            lambda: crowded.status()["processes"] >= processes and crowded.status()["series"]["fine"] >= metrics,
            f"the agent sees {processes} processes and {metrics} numbers",
            every_s=0.5,
        )
        time.sleep(2 * interval_s)  # the numbers of new processes cost more in their first ticks
        began, cpu_s, idle_cpu_s = time.perf_counter(), crowded.cpu_s(), idle.cpu_s()
        plain_s = []
        for _ in range(ticks):
            published.change()
            plain_s.append(plain_pass(crowded.proc, pairs))
            time.sleep(interval_s)
        elapsed_s = time.perf_counter() - began
        share = (crowded.cpu_s() - cpu_s) / elapsed_s
        idle_share = (idle.cpu_s() - idle_cpu_s) / elapsed_s
        known = crowded.status()
    plain_share = statistics.median(plain_s) / interval_s
    made_of = f"{known['processes']} processes, {known['series']['fine']} series"
    yield Row("CPU share of the agent", 100 * share, "% of one", "a plain loop", 100 * plain_share, made_of)
    yield Row("CPU share of the agent", 100 * share, "% of one", "an agent with nothing to see", 100 * idle_share)
    yield Row("CPU time a tick above an idle agent", 1000 * (share - idle_share) * interval_s, "ms")


class Agent:
    """A cantal-agent that is process 1 of its own pid namespace."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid  # outside
        self._port = port

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path, interval_s: float, pairs: list[Path], sleepers: int) -> Iterator[Agent]:
        (directory / "config").mkdir(parents=True)
        [port] = free_ports(1)
        words = [children.ours("cantal-agent"), "--port", str(port), "--interval", str(round(interval_s * 1000))]
        words += ["--config-dir", str(directory / "config"), "--override-machine-id", f"{port:032x}"]
        lines = [f"CANTAL_PATH={pair} {BUSYBOX} sleep 1000 &" for pair in pairs] + [
            f"{BUSYBOX} sleep 1000 &"
        ] * sleepers
        script = directory / "crowd"
        script.write_text("\n".join([*lines, f"exec {' '.join(words)}", ""]))
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", script]
        with children.running(unshare, log=directory / "log", ended_by=signal.SIGKILL) as process:
            kin = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            agent = cls(int(children.wait_until(kin.read_text, "the first process of the namespace")), port)
            children.wait_until(agent.answers, f"an agent answers; its log: {directory / 'log'}")
            yield agent
        children.wait_until(lambda: not agent.proc.exists(), "the end of the namespace and everything in it")

    @property
    def proc(self) -> Path:
        """/proc as the agent sees it."""
        return Path(f"/proc/{self._pid}/root/proc")

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/status.json", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def answers(self) -> bool:
        try:
            return bool(self.status())
        except OSError:
            return False

    def cpu_s(self) -> float:
        """All its threads, by the clock that each process has: /proc tells the same in steps of 10 ms."""
        return time.clock_gettime(~self._pid << 3 | CPUCLOCK_SCHED)


class Published:
    """Numbers in memory-mapped files, half counters and half levels, as a program's client library writes them."""

    def __init__(self, directory: Path, metrics: int) -> None:
        self._directory = directory
        self._rng = np.random.default_rng(1)
        self._files = []
        for number in range(PAIRS):
            kinds = ("counter 8", "level 8 signed")
            lines = [
                f"{kinds[i % 2]}: {json.dumps({'group': f'shop{number}', 'metric': f'm{i}'})}"
                for i in range(metrics // PAIRS)
            ]
            path = self.path(number)
            path.with_name(path.name + ".values").write_bytes(bytes(8 * len(lines)))
            path.with_name(path.name + ".meta").write_text("\n".join([*lines, ""]))
            self._files.append(np.memmap(path.with_name(path.name + ".values"), np.uint64, "r+"))

    def path(self, number: int) -> Path:
        return self._directory / f"numbers{number}"

    def change(self) -> None:
        for numbers in self._files:
            chosen = self._rng.random(len(numbers)) < CHANGING
            numbers[chosen] += self._rng.integers(1, 1000, int(chosen.sum()), dtype=np.uint64)


def plain_pass(proc: Path, pairs: list[Path]) -> float:
    """CPU seconds of one look at everything, without any memory of the look before."""
    began = time.process_time()
    for pid in filter(str.isdigit, (entry.name for entry in proc.iterdir())):
        for name in ("stat", "io"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{proc}/{pid}/{name}") as file:
                numbers = [int(word) for word in file.read().rpartition(")")[2].split() if word.isdigit()]
    for pair in pairs:
        content = Path(f"{pair}.values").read_bytes()
        numbers = [int.from_bytes(content[i : i + 8], "little") for i in range(0, len(content), 8)]
    assert numbers
    return time.process_time() - began
