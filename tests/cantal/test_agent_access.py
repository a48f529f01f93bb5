"""Who may ask an agent, and who may change something."""

from __future__ import annotations

import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_runner import Agent, own_network_namespace, running, wait_until

from manor.trust.tokens import make_token


@pytest.fixture
def namespace() -> Iterator[str]:
    """With an address that is no loopback address."""
    with own_network_namespace() as path:
        subprocess.run(["nsenter", f"--net={path}", "ip", "addr", "add", "10.99.0.1/32", "dev", "lo"], check=True)
        yield path


def _status(agent: Agent, path: str, body: Any = None, **headers: str) -> int:
    try:
        agent.raw(path, body, headers)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


@pytest.mark.case("cantal-55")
def test_tokens_roles_origins_and_hosts(tmp_path: Path, namespace: str) -> None:
    viewer, viewer_entry = make_token("eve", "viewer")
    operator, operator_entry = make_token("oscar", "operator")
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(viewer_entry + operator_entry)
    tokens.chmod(0o600)
    flags = ("--cluster-name", "c", "--api-token-file", str(tokens), "--bind-localhost")
    agent = Agent(tmp_path, 1, *flags, host="10.99.0.1", port=22682, namespace=namespace)
    other = Agent(tmp_path, 2, *flags, host="10.99.0.1", port=22683, namespace=namespace)
    agent.host = other.host = "127.0.0.1"  # asked over loopback at first, where no token is needed
    host = {"addr": "10.99.0.1:22683"}
    foreign = {"Origin": "http://evil.example"}
    with running(agent, other):
        assert _status(agent, "/status.json") == 200
        assert _status(agent, "/add_host.json", host, **foreign) == 403
        assert _status(agent, "/add_host.json", host, Host="evil.example") == 403
        assert _status(agent, "/status.json", Host="evil.example") == 403

        agent.host = "10.99.0.1"
        assert _status(agent, "/status.json") == 401
        assert _status(agent, "/status.json", Authorization="Bearer nonsense") == 401
        assert _status(agent, "/add_host.json", host) == 401
        assert _status(agent, "/status.json", Authorization=f"Bearer {viewer}") == 200
        assert _status(agent, "/query.json", {"rules": {}}, Authorization=f"Bearer {viewer}") == 400
        assert _status(agent, "/add_host.json", host, Authorization=f"Bearer {viewer}") == 403
        assert _status(agent, "/add_host.json", host, Authorization=f"Bearer {operator}", **foreign) == 403

        agent.host = "127.0.0.1"
        assert agent.peers() == {}
        agent.host = "10.99.0.1"
        assert _status(agent, "/add_host.json", host, Authorization=f"Bearer {operator}") == 200
        agent.host = "127.0.0.1"
        wait_until(lambda: agent.sees_alive([other]))
