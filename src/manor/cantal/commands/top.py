"""`cantal top`: who uses the machine now."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import print_json, size, table
from manor.config.errors import ManorError

EVERY_S = 2.0
ROWS_MAX = 30
HISTORY = 12  # measurements a sparkline shows
BARS = "▁▂▃▄▅▆▇█"
HEAD = ("ID", "NAME", "CPU %", "", "MEMORY")


class NotYet(ManorError):
    """`cantal top --remote` is not supported yet; `cantal query --remote` asks the whole cluster"""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """One process or group. CPU in percent of a core, memory in bytes."""

    id: str
    name: str
    cpu: float
    memory: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)
    parser.add_argument("--cgroups", action="store_true", help="control groups instead of processes")
    parser.add_argument("--remote", action="store_true", help="over the cluster (not supported yet)")
    parser.add_argument("--sort", choices=("cpu", "memory"), default="cpu")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only names that contain it")


def run(options: argparse.Namespace) -> int:
    if options.remote:
        raise NotYet("`cantal top --remote` is not supported yet; `cantal query --remote` asks the whole cluster")
    agent = Agent(options)
    before, began = agent.get("/all_processes.json"), time.monotonic()
    history: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=HISTORY))
    live = sys.stdout.isatty() and not options.json
    while True:
        time.sleep(EVERY_S)
        now, at = agent.get("/all_processes.json"), time.monotonic()
        rows = ranked(before["all"], now["all"], at - began, options)
        before, began = now, at
        for row in rows:
            history[row.id].append(row.cpu)
        if options.json:
            print_json([{"id": r.id, "name": r.name, "cpu": r.cpu, "memory": r.memory} for r in rows])
        else:
            print(("\x1b[H\x1b[2J" if live else "") + shown(rows[:ROWS_MAX], history), flush=True)
        if not live:
            return 0


def ranked(before: list[Any], now: list[Any], seconds: float, options: argparse.Namespace) -> list[Usage]:
    """The largest first; by the process tables of two moments."""
    used = {p["start_id"]: p["user_time"] + p["system_time"] for p in before}
    rows = []
    for p in now:
        ticks = p["user_time"] + p["system_time"]
        cpu = (ticks - used.get(p["start_id"], ticks)) / seconds
        rows.append((p, Usage(str(p["pid"]), p["name"], round(cpu, 1), p["rss"])))
    found = _by_group(rows) if options.cgroups else [usage for _, usage in rows]
    meant = [usage for usage in found if options.filter in usage.name]
    return sorted(meant, key=lambda usage: (-getattr(usage, options.sort), usage.name, usage.id))


def _by_group(rows: list[tuple[Any, Usage]]) -> list[Usage]:
    groups: dict[str, list[Usage]] = defaultdict(list)
    for process, usage in rows:
        if process["cgroup"] is not None:
            groups[process["cgroup"]].append(usage)
    return [
        Usage(str(len(members)), name, round(sum(m.cpu for m in members), 1), sum(m.memory for m in members))
        for name, members in groups.items()
    ]


def shown(rows: list[Usage], history: dict[str, deque[float]]) -> str:
    return table(
        HEAD, [[row.id, row.name, f"{row.cpu:.1f}", sparkline(history[row.id]), size(row.memory)] for row in rows]
    )


def sparkline(values: deque[float]) -> str:
    most = max([*values, 1.0])
    return "".join(BARS[min(len(BARS) - 1, int(value / most * (len(BARS) - 1)))] for value in values)
