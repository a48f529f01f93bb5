"""Asking an agent from a program: typed records, rules by name, errors that say what to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from agent_runner import Agent, free_port, introduce, running, wait_until

from manor.cantal.query_client import (
    AgentUnreachable,
    BadQuery,
    BlockingClient,
    CantalError,
    Client,
    Refused,
    decode_datasets,
    decode_peers,
    fine,
    states,
)


def test_importing_it_costs_no_http_library() -> None:
    code = "import sys, manor.cantal.query_client; print(sorted({'aiohttp', 'cbor2', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_rules_are_built_by_name() -> None:
    rule = fine().matching("metric", r"^cpu\.").history(150).derivative().sum_by("metric", total=True)
    assert rule.plain() == {
        "series": {"source": "Fine", "condition": ["RegexLike", "metric", r"^cpu\."]},
        "extract": ["HistoryByNum", 150],
        "functions": [["NonNegativeDerivative"], ["SumBy", "metric", "Ignore", True]],
    }
    assert states().plain()["series"] == {"source": "Tip", "condition": []}
    both = fine().equal("metric", "rss").where("Has", "cgroup")
    assert both.plain()["series"]["condition"] == ["And", ["Eq", "metric", "rss"], ["Has", "cgroup"]]


def test_a_program_asks_two_agents(tmp_path: Path) -> None:
    agents = [Agent(tmp_path, number, "--cluster-name", "c") for number in (1, 2)]
    first, second = agents
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        wait_until(lambda: all(agent.get("/status.json")["ticks"] > 3 for agent in agents))

        async def ask() -> None:
            async with Client(f"http://{first.address}") as cantal:
                assert (await cantal.status())["id"] == first.id
                answer = await cantal.peers()
                (peer,) = answer.peers
                assert (peer.id, peer.available, peer.primary_addr) == (second.id, True, second.address)
                assert answer.requested >= peer.known_since
                assert (await cantal.add_host(second.address, wait=2000)).state == "alive"

                uptime = fine().equal("metric", "uptime")
                (tip,) = (await cantal.query({"up": uptime}))["values"]["up"]["tips"]
                assert tip["kind"] == "Float"
                by_host = await cantal.query_by_host({"up": uptime.history(2)}, wait=5000)
                assert set(by_host["hosts"]) == {first.id, second.id}
                merged = await cantal.remote_query({"up": uptime.history(5).sum()}, wait=5000)
                assert merged["values"]["up"]["type"] == "SingleSeries"

                with pytest.raises(BadQuery) as bad:
                    await cantal.query({"up": uptime.then("SumBy", "x")})
                assert bad.value.path == "rules.up.functions[0]"
                with pytest.raises(Refused) as refused:
                    await cantal.add_host("x", wait=None)
                assert refused.value.status == 400

        asyncio.run(ask())
        with BlockingClient(f"http://{first.address}") as cantal:
            assert [peer.id for peer in cantal.peers().peers] == [second.id]
            binary = first.raw("/query.cbor", {"rules": {"up": fine().equal("metric", "uptime").plain()}})
            (tip,) = decode_datasets(binary)["values"]["up"]["tips"]
            assert tip["key"] == {"metric": "uptime"}


def test_nobody_there_is_an_error_of_its_own() -> None:
    with BlockingClient(f"http://127.0.0.1:{free_port()}") as cantal, pytest.raises(AgentUnreachable, match="no agent"):
        cantal.status()


def test_peers_of_a_legacy_agent_and_nonsense() -> None:
    legacy = (
        b'{"peers": [{"id": "ab", "hostname": null, "name": null, "addresses": [], "known_since": 5}], "requested": 7}'
    )
    (peer,) = decode_peers(legacy).peers
    assert (peer.id, peer.available, peer.known_since) == ("ab", None, 5)
    with pytest.raises(CantalError):
        decode_peers(b'{"peers": [{}]}')
    with pytest.raises(CantalError):
        decode_datasets(b"\xff")
