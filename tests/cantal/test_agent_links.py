"""A link that loses packets one way: nobody dies of it, everybody can see it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_runner import Agent, introduce, own_network_namespace, running, wait_until


@pytest.fixture
def namespace() -> Iterator[str]:
    with own_network_namespace() as path:
        yield path


def _drop(namespace: str, source: str, target: str) -> None:
    """From now on nothing sent from source reaches target; the other direction goes on."""
    rules = (
        "rule add pref 1 lookup local",
        "rule del pref 0",
        f"rule add pref 0 from {source} to {target} ipproto udp blackhole",
    )
    for rule in rules:
        subprocess.run(["nsenter", f"--net={namespace}", "ip", *rule.split()], check=True)


@pytest.mark.case("cantal-42")
def test_a_one_way_link_is_named_with_its_direction_and_all_stay_available(tmp_path: Path, namespace: str) -> None:
    agents = [
        Agent(tmp_path, number, "--cluster-name", "c", host=f"127.0.1.{number}", port=22682, namespace=namespace)
        for number in (1, 2, 3)
    ]
    a, b, c = agents
    with running(*agents):
        introduce(agents)
        wait_until(lambda: all(agent.sees_alive(agents) for agent in agents))
        assert c.get("/gossip_links.json") == {"links": []}

        _drop(namespace, "127.0.1.1", "127.0.1.2")

        def shown() -> set[tuple[str, str, str]]:
            for agent in agents:
                assert all(peer["state"] == "alive" for peer in agent.peers().values())
            return {(link["from"], link["to"], link["direction"]) for link in c.get("/gossip_links.json")["links"]}

        expected = {(a.id, b.id, "request_lost"), (b.id, a.id, "reply_lost")}
        wait_until(lambda: shown() == expected, within=60)
        wait_until(lambda: c.peers()[b.id]["unreachable_from"] == [{"id": a.id, "direction": "request_lost"}])
        assert a.get("/status.json")["gossip"]["suspect"] == 0
