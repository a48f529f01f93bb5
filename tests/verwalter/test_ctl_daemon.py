"""verwalter-ctl and real daemons: an operator's hour on a cluster of two nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from verwalter_cluster import running_cluster, until

from manor.verwalter.ctl import main


@pytest.fixture(autouse=True)
def no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VERWALTER_TOKEN", raising=False)


def test_an_operator_looks_scales_updates_and_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_cluster(tmp_path, "alpha", "beta") as cluster:
        leader = cluster.wait_leader()
        cluster.wait_stable()
        follower = "beta" if leader == "alpha" else "alpha"

        def ctl(*words: str, node: str = follower, expected: int = 0) -> str:
            capsys.readouterr()
            assert main(["--url", f"http://{cluster.address[node]}:{cluster.port}", *words]) == expected
            return capsys.readouterr().out

        def document(*words: str) -> Any:
            return json.loads(ctl("--json", *words))

        assert f"leader       {leader} ({cluster.address[leader]}:{cluster.port})" in ctl("status")
        assert ctl("peers").splitlines()[1].startswith(f"{leader}  {leader}  {cluster.address[leader]}:{cluster.port}")
        assert "site  v1" in ctl("roles")
        assert "Follower" in ctl("election")
        assert "beta" in ctl("nodes")
        wait_for_reports(lambda: document("--leader", "nodes"))

        assert ctl("scale", "site", "web", "5") == "web scaled to 5\n"
        explained = document("explain", "site")
        assert len(explained["instances"]) == 5
        assert {one["node"] for one in explained["instances"]} == {"alpha", "beta"}
        changed = document("--leader", "schedule", "--diff")
        assert {one["path"].rpartition(".")[2] for one in changed} == {"instances"}
        ctl("scale", "nope", "web", "1", expected=6)
        ctl("update", "site", "start", "v9", expected=6)
        ctl("update", "site", "pause", expected=1)
        assert ctl("action", '{"button": {"role": "site", "action": "nonsense"}}', "--wait", expected=1) == ""

        deployments = ctl("logs", "site", "-n", "100000", node=leader).count("RoleStart")
        ctl("rerender", "site", "--node", leader)
        until(lambda: ctl("logs", "site", "-n", "100000", node=leader).count("RoleStart") > deployments, "a deployment")
        assert "DeploymentStart" in ctl("logs", node=leader)

        assert ctl("failed").splitlines() == ["NODE  KIND  NAME  ERROR"]


def wait_for_reports(nodes: Callable[[], dict[str, Any]]) -> None:
    until(lambda: all(node["report"] is not None for node in nodes().values()), "reports of both nodes")
