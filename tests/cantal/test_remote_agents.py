"""Real agents connect to each other when somebody asks, answer for the whole cluster, and let go again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import cbor2
import pytest
from agent_runner import Agent, introduce, running, wait_until

LOAD = {"series": {"source": "Fine", "condition": ["Eq", "metric", "uptime"]}, "extract": ["HistoryByNum", 20]}
QUESTION = {"rules": {"up": LOAD}}


def _cluster(directory: Path, count: int, *flags: str) -> list[Agent]:
    return [Agent(directory, number, "--cluster-name", "c", *flags) for number in range(1, count + 1)]


def _meet(agents: list[Agent]) -> None:
    introduce(agents)
    wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))


def _connections(agents: list[Agent]) -> dict[str, int]:
    """How many connections each has made."""
    return {agent.id: sum(peer["connected"] for peer in agent.get("/remote_stats.json")["peers"]) for agent in agents}


def _ask(agent: Agent, path: str = "/remote/query_by_host.json", question: Any = None, wait: int = 5000) -> Any:
    return agent.post(f"{path}?wait={wait}", question or QUESTION)


@pytest.mark.case("cantal-48")
def test_connections_come_with_a_question_and_go_when_nobody_asks(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 4)
    (tmp_path / "config" / "agent.yaml").write_text("remote: {subscription-lifetime: 2s, idle-close: 1s}\n")
    first, second, *_ = agents
    with running(*agents):
        _meet(agents)
        assert set(_connections(agents).values()) == {0}
        assert first.get("/remote_stats.json") == {"enabled": False, "peers": []}

        _ask(first)
        assert _connections(agents) == {agent.id: 3 if agent is first else 0 for agent in agents}
        wait_until(lambda: second.peers()[first.id]["has_remote"] is True)
        assert [peer["id"] for peer in second.get("/peers_with_remote.json")["peers"]] == [first.id]
        beacon = wait_until(lambda: first.get("/remote_stats.json")["peers"][0]["last_beacon"])
        assert beacon["cluster_name"] == "c"

        wait_until(lambda: set(_connections(agents).values()) == {0})
        wait_until(lambda: not first.get("/status.json")["remote"]["active"])
        wait_until(lambda: all(not agent.get("/status.json")["remote"]["served"] for agent in agents))
        wait_until(lambda: second.peers()[first.id]["has_remote"] is False)


@pytest.mark.case("cantal-49")
def test_the_first_answer_reaches_back_before_the_question(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 4)
    with running(*agents):
        _meet(agents)
        wait_until(lambda: all(agent.get("/status.json")["ticks"] > 30 for agent in agents), within=60)

        asked_at = int(time.time() * 1000)
        before = {**LOAD, "extract": ["HistoryRange", asked_at - 20_000, asked_at]}
        answer = _ask(agents[0], question={"rules": {"up": before}})
        assert answer["missing"] == [] == answer["unavailable"]
        assert set(answer["hosts"]) == {agent.id for agent in agents}
        for host in answer["hosts"].values():
            (series,) = host["values"]["up"]["series"]
            assert series["key"] == {"metric": "uptime"}
            assert len([value for value in series["values"] if value is not None]) >= 20
            assert all(tick <= asked_at for tick in series["timestamps"])

        legacy = cbor2.loads(agents[0].raw("/remote/query_by_host.cbor?wait=5000", QUESTION))
        assert set(legacy) == {agent.id for agent in agents}
        assert legacy[agents[1].id]["up"][0] == 101


def test_the_merged_sum_is_the_sum_of_the_hosts_own_answers(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 3)
    with running(*agents):
        _meet(agents)
        rate = {
            "series": {"source": "Fine", "condition": ["Eq", "metric", "context_switches"]},
            "extract": ["HistoryByNum", 30],
            "functions": [["NonNegativeDerivative"]],
        }
        question = {"rules": {"rate": rate}}
        total = {"rules": {"rate": {**rate, "functions": [*rate["functions"], ["Sum", "Ignore"]]}}}
        wait_until(lambda: all(agent.get("/status.json")["ticks"] > 20 for agent in agents), within=60)
        _ask(agents[0], question=question)
        merged = _ask(agents[0], "/remote/query.json", total)
        by_host = _ask(agents[0], question=question)
        assert len(merged["hosts"]) == 3

        expected: dict[int, float] = {}
        hosts_at: dict[int, int] = {}
        for host in by_host["hosts"].values():
            (series,) = host["values"]["rate"]["series"]
            for tick, value in zip(series["timestamps"], series["values"], strict=True):
                if value is not None:
                    expected[tick] = expected.get(tick, 0.0) + value
                    hosts_at[tick] = hosts_at.get(tick, 0) + 1
        answered = merged["values"]["rate"]["series"]
        compared = 0
        for tick, value in zip(answered["timestamps"], answered["values"], strict=True):
            if value is not None and hosts_at.get(tick) == 3 and tick < merged["tick"] - 400:
                assert value == pytest.approx(expected[tick])
                compared += 1
        assert compared >= 10
        labelled = _ask(agents[0], "/remote/query.json", question)["values"]["rate"]["series"]
        assert {series["key"]["host"] for series in labelled} == {agent.id for agent in agents}


@pytest.mark.case("cantal-52")
def test_a_frozen_member_is_named_and_holds_nobody_up(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 4)
    # the frozen one stays available for the time of the test
    (tmp_path / "config" / "agent.yaml").write_text("gossip: {suspicion-min: 60s, suspicion-max: 60s}\n")
    with running(*agents):
        _meet(agents)
        frozen = agents[3]
        frozen.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            answer = _ask(agents[0], wait=3000)
            took_s = time.monotonic() - began
        finally:
            frozen.signal(signal.SIGCONT)
        assert took_s < 10  # half a second more than asked for, if the machine has time; the handshake would take 30
        assert set(answer["hosts"]) == {agent.id for agent in agents[:3]}
        assert [(one["id"], one["name"]) for one in answer["missing"]] == [(frozen.id, "node-4")]
        assert answer["missing"][0]["reason"]
        wait_until(lambda: not _ask(agents[0])["missing"], within=60)


def test_a_restarted_member_is_connected_again_and_asked_for_what_it_has(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 2)
    first, second = agents
    with running(*agents):
        _meet(agents)
        assert set(_ask(first)["hosts"]) == {first.id, second.id}
        second.kill()
        second.start()
        second.post("/add_host.json", {"addr": first.address})
        started = int(second.get("/status.json")["startup_time"])

        def continued() -> bool:
            host = _ask(first)["hosts"].get(second.id)
            return host is not None and host["newest_tick"] > started + 1000

        wait_until(continued)


def test_with_a_key_only_who_has_it_gets_data(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("aa" * 32)
    key.chmod(0o600)
    agents = _cluster(tmp_path, 2, "--cluster-key-file", str(key))
    with running(*agents):
        _meet(agents)
        assert set(_ask(agents[0])["hosts"]) == {agent.id for agent in agents}
        assert _close_code_without_proof(agents[1]) == 4401


def _close_code_without_proof(agent: Agent) -> int | None:
    import asyncio

    import aiohttp

    from manor.cantal.remote import messages
    from manor.cantal.remote.messages import Auth, Hello

    async def knock() -> int | None:
        url = f"http://{agent.address}/peer/ws"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            hello = messages.decode(await socket.receive_bytes())
            assert isinstance(hello, Hello)
            await socket.send_bytes(messages.encode(Auth(os.urandom(16), os.urandom(32), os.urandom(32))))
            await socket.receive()
            return socket.close_code

    return asyncio.run(knock())


def test_bad_questions_are_refused_with_their_place(tmp_path: Path) -> None:
    agents = _cluster(tmp_path, 1)
    with running(*agents):
        status, document = agents[0].refusal("/remote/query.json", {"rules": {"r": {"series": {"source": "Fin"}}}})
        assert (status, document["ok"]) == (400, False)
        assert "rules.r" in document["error"]
        assert agents[0].refusal("/remote/query.json?wait=soon", QUESTION)[0] == 400
        assert agents[0].get("/remote_stats.json")["enabled"] is False
