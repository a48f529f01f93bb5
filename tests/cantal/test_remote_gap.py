"""A connection of the mesh that breaks for a while leaves no hole behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_runner import Agent, introduce, own_network_namespace, running, wait_until

CUT_S = 20.0
QUESTION = {
    "rules": {
        "up": {
            "series": {"source": "Fine", "condition": ["Eq", "metric", "uptime"]},
            "extract": ["HistoryByNum", 400],
        }
    }
}


@pytest.fixture
def namespace() -> Iterator[str]:
    with own_network_namespace() as path:
        yield path


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["nsenter", f"--net={namespace}", "ip", *words], check=True)


@pytest.mark.case("cantal-50")
def test_what_was_missed_during_a_cut_comes_afterwards(tmp_path: Path, namespace: str) -> None:
    agents = [
        Agent(tmp_path, number, "--cluster-name", "c", host=f"127.0.1.{number}", port=22682, namespace=namespace)
        for number in (1, 2)
    ]
    asker, member = agents
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        assert set(_ask(asker)["hosts"]) == {asker.id, member.id}

        _ip(namespace, "rule", "add", "pref", "1", "lookup", "local")
        _ip(namespace, "rule", "del", "pref", "0")
        cut_at_ms = time.time() * 1000
        for end in ("from", "to"):
            _ip(namespace, "rule", "add", "pref", "0", end, "127.0.1.2", "ipproto", "tcp", "blackhole")
        until = time.monotonic() + CUT_S
        wait_until(lambda: time.monotonic() > until, within=CUT_S + 5)
        wait_until(lambda: not asker.get("/remote_stats.json")["peers"][0]["connected"])
        _ip(namespace, "rule", "del", "pref", "0")
        _ip(namespace, "rule", "del", "pref", "0")
        mended_at_ms = time.time() * 1000

        def caught_up() -> Any:
            host = _ask(asker)["hosts"].get(member.id)
            return host if host is not None and host["newest_tick"] > mended_at_ms + 1000 else None

        host = wait_until(caught_up, within=90)
        (series,) = host["values"]["up"]["series"]
        own = member.post("/query.json", QUESTION)["values"]["up"]["series"][0]
        inside = [tick for tick in own["timestamps"] if cut_at_ms - 1000 < tick < mended_at_ms]
        assert len(inside) > CUT_S  # at five ticks a second there are about a hundred
        received = dict(zip(series["timestamps"], series["values"], strict=True))
        measured = dict(zip(own["timestamps"], own["values"], strict=True))
        assert [received.get(tick) for tick in inside] == [measured[tick] for tick in inside]


def _ask(agent: Agent) -> Any:
    return agent.post("/remote/query_by_host.json?wait=5000", QUESTION)
