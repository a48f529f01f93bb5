"""The HTTP API of real daemons: documents, refusals, actions, the way to the leader."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from verwalter_cluster import Cluster, running_cluster, until

from manor.verwalter.schedule import Envelope, encode, hash_of

THREE = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three daemons for all tests that do them no harm."""
    with running_cluster(tmp_path_factory.mktemp("api"), *THREE) as found:
        found.wait_leader()
        found.wait_stable()
        yield found


def follower(cluster: Cluster) -> str:
    leader = cluster.wait_leader()
    return next(name for name in THREE if name != leader)


def button(action: str, **fields: Any) -> dict[str, Any]:
    return {"button": {"role": "site", "action": action, **fields}}


@pytest.mark.case("verwalter-40")
def test_one_document_in_three_formats(cluster: Cluster) -> None:
    name = cluster.wait_leader()
    plain, pretty = cluster.ask(name, "schedule.json")[1], cluster.ask(name, "schedule.pretty")[1]
    assert plain == pretty
    _, gron = cluster.ask(name, "status.gron")
    lines = gron.splitlines()
    assert f'json.leader.hostname = "{name}";' in lines
    for path in ("status", "status.json", "status.pretty"):
        assert cluster.ask(name, path)[1]["leader"]["hostname"] == name
    assert len([line for line in lines if line.startswith("json.metrics.")]) == len(cluster.status(name)["metrics"])


def test_every_reading_path_answers_on_the_leader(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    for path in (
        "health", "status", "metrics", "election", "peers", "nodes", "schedule", "roles", "roles_data",
        "scheduler_input", "scheduler_debug_info", "pending_actions", "action_is_pending/5", "whoami",
        "delivery/status",
    ):  # fmt: skip
        assert cluster.ask(leader, path)[0] == 200, path
    assert [peer["hostname"] for peer in cluster.ask(leader, "peers")[1]] == [n for n in THREE if n != leader]
    assert sorted(cluster.ask(leader, "nodes")[1]) == list(THREE)
    assert cluster.ask(leader, "election")[1]["needed_votes"] == 2
    assert cluster.ask(leader, "scheduler_input")[1]["current_host"] == leader


def test_only_the_leader_shows_its_rounds(cluster: Cluster) -> None:
    other = follower(cluster)
    for path in ("scheduler_input", "scheduler_debug_info"):
        status, document = cluster.ask(other, path)
        assert status == 404
        assert document["leader"] == f"{cluster.address[cluster.wait_leader()]}:{cluster.port}"


def test_a_schedule_has_its_hash_as_etag_and_others_are_asked_for_by_hash(cluster: Cluster) -> None:
    hash = cluster.wait_stable()
    for name in THREE:
        assert cluster.ask(name, f"schedule?hash={hash}")[1]["hash"] == hash
    assert cluster.ask("alpha", "schedule", **{"If-None-Match": f'"{hash}"'})[0] == 304
    assert cluster.ask("alpha", f"schedule?hash={'0' * 64}")[0] == 404


@pytest.mark.case("verwalter-24")
def test_variables_of_roles_are_merged_as_documented(tmp_path: Path) -> None:
    data = {
        "vars": {"a": {"x": 2, "y": {"p": 1}}, "b": {"x": 2}, "everywhere": 1},
        "roles": {"site": {"a": 5, "b": 5, "everywhere": 2}, "elsewhere": {}},
        "nodes": {"alpha": {"vars": {"b": {"x": 7}, "rack": 7}, "roles": {"site": {"a": {"x": 1}, "b": 5}}}},
    }
    envelope = Envelope(hash=hash_of(data), timestamp=1000, origin="aa", epoch=1, data=data)
    cluster = Cluster(tmp_path, ["alpha", "beta"])
    try:
        # the schedule of a former life; alone of two nodes there is no leader who would make another
        (tmp_path / "alpha/var/schedule").mkdir(parents=True)
        (tmp_path / "alpha/var/schedule/schedule.json").write_bytes(encode(envelope))
        cluster.start("alpha")
        until(lambda: cluster.ask("alpha", "roles_data")[0] == 200, "the daemon")
        _, document = cluster.ask("alpha", "roles_data")
    finally:
        cluster.close()
    site = document["to_render"]["site"]
    assert site.pop("timestamp").endswith("Z")
    assert site == {
        "a": {"x": 1, "y": {"p": 1}}, "b": 5, "everywhere": 2, "rack": 7, "role": "site", "node": "alpha"
    }  # fmt: skip
    assert document["all_roles"] == ["elsewhere", "site"]


@pytest.mark.case("verwalter-21")
def test_actions_are_refused_where_they_do_not_belong(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    connection = http.client.HTTPConnection(cluster.address[leader], cluster.port, timeout=10)
    connection.request("POST", "/v1/action", b"{}")
    assert connection.getresponse().status == 415
    connection.close()
    assert cluster.ask(leader, "action", b"{}", **{"Content-Type": "text/plain"})[0] == 415
    status, document = cluster.ask(leader, "action", b'{"a": ')
    assert (status, document["position"]) == (400, 6)
    assert cluster.ask(leader, "action", [1])[0] == 400
    assert cluster.ask(leader, "action", {"a": "x" * 70_000})[0] == 413
    status, document = cluster.ask(follower(cluster), "action", button("scale"))
    assert status == 503
    assert document["leader"] == f"{cluster.address[leader]}:{cluster.port}"
    assert document["leader"] in document["error"]


def test_an_action_is_answered_by_the_scheduler_and_changes_the_schedule_everywhere(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    status, answer = cluster.ask(leader, "wait_action", button("scale", daemon="web", count=6))
    assert (status, answer["ok"]) == (200, True)
    hash = cluster.wait_stable()
    nodes = cluster.ask(follower(cluster), f"schedule?hash={hash}")[1]["data"]["nodes"]
    daemons = [daemon for node in nodes.values() for daemon in node["roles"]["site"]["daemons"].values()]
    assert sum(daemon["instances"] for daemon in daemons) == 6
    status, answer = cluster.ask(leader, "wait_action", {"button": {"role": "nobody", "action": "scale"}})
    assert (status, answer["ok"]) == (200, False)
    _, registered = cluster.ask(leader, "action", button("scale", daemon="web", count=3))
    path = f"action_is_pending/{registered['registered']}"
    until(lambda: cluster.ask(leader, path)[1] == {"pending": False}, "the action")
    assert cluster.ask(leader, "action_is_pending/x")[0] == 404


@pytest.mark.case("verwalter-42")
def test_what_changes_something_is_not_done_by_get(cluster: Cluster) -> None:
    for path in ("force_render_all", "action", "resign"):
        status, document = cluster.ask("alpha", path)
        assert status == 405, document
    assert cluster.ask("alpha", "force_render_all", {"roles": "site"})[0] == 400


def test_rendering_can_be_asked_for(cluster: Cluster) -> None:
    rendered = cluster.directory / "beta/rendered.txt"
    before = until(lambda: rendered.exists() and rendered.read_text(), "the first rendering")
    for body in ({"roles": ["site"]}, {}):
        assert cluster.ask("beta", "force_render_all", body) == (200, "ok")
        before = until(lambda before=before: rendered.read_text() != before and rendered.read_text(), "a new one")


@pytest.mark.case("verwalter-43")
def test_the_way_to_the_leader_keeps_port_path_and_query(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    other = follower(cluster)
    connection = http.client.HTTPConnection(cluster.address[other], cluster.port, timeout=10)
    connection.request("GET", "/v1/leader-redirect-by-node-name/roles?x=1")
    response = connection.getresponse()
    assert response.status == 308
    assert response.headers["Location"] == f"http://{leader}:{cluster.port}/roles?x=1"
    assert response.headers["Cache-Control"] == "no-cache"
    connection.close()


def test_logs_can_be_read_in_parts_and_nothing_beside_them(cluster: Cluster) -> None:
    until(lambda: cluster.ask("alpha", "log/role/site/latest")[0] == 200, "the role's log")
    text = cluster.ask("alpha", "log/role/site/latest")[1]
    assert "RoleStart" in text
    assert cluster.ask("alpha", "log/index/latest", Range="bytes=5-9")[0] == 206
    latest = (cluster.directory / "alpha/log/.index/latest").resolve().name
    assert cluster.ask("alpha", f"log/index/{latest}")[0] == 200
    size = len(cluster.ask("alpha", "log/global/latest")[1])
    assert cluster.ask("alpha", "log/global/latest", Range=f"bytes={size + 100}-")[0] == 416
    for path in ("log/index/../x", "log/role/site/.hidden", "log/role/../../etc", "log/nothing/x"):
        assert cluster.ask("alpha", path)[0] == 404, path


def test_a_leader_resigns_when_asked_and_others_cannot(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    assert cluster.ask(follower(cluster), "resign", {})[0] == 409
    assert cluster.ask(leader, "resign", {})[0] == 200
    until(lambda: cluster.leaders() and leader not in cluster.leaders(), "another leader")
    assert cluster.wait_leader() != leader
    assert not cluster.status(leader)["election_state"]["may_stand"]


@pytest.mark.case("verwalter-23")
def test_a_thousand_actions_wait_until_a_round_succeeds(tmp_path: Path) -> None:
    broken = "daemons: {web: {instances: 3}}\n"
    with running_cluster(tmp_path, "alpha") as alone:
        alone.wait_leader()
        alone.wait_stable()
        # a worker that is killed at every start fails every round
        worker = until(lambda: alone.worker_pid("alpha"), "the worker")
        roles = tmp_path / "alpha/etc/scheduler/v1/roles.yaml"
        good = roles.read_text()
        roles.write_text(broken)
        until(lambda: "scheduler_load" in alone.status("alpha")["errors"], "the error")
        alone.kill_pid(worker)
        until(lambda: alone.status("alpha")["scheduler"]["failures_in_row"] > 0, "a failed round")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda n: alone.ask("alpha", "action", button("scale", n=n))[0], range(1001)))
        assert sorted(statuses) == [200] * 1000 + [429]
        assert len(alone.ask("alpha", "pending_actions")[1]) == 1000
        roles.write_text(good)
        until(lambda: alone.ask("alpha", "pending_actions")[1] == {}, "a round")
        until(lambda: alone.status("alpha")["errors"] == {}, "no errors")


def test_waiting_for_an_action_ends_when_the_leader_dies(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha") as alone:
        alone.wait_leader()
        alone.wait_stable()
        worker = until(lambda: alone.worker_pid("alpha"), "the worker")
        (tmp_path / "alpha/etc/scheduler/v1/roles.yaml").write_text("x")
        until(lambda: "scheduler_load" in alone.status("alpha")["errors"], "the error")
        alone.kill_pid(worker)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(alone.ask, "alpha", "wait_action", button("scale"))
            until(lambda: alone.ask("alpha", "pending_actions")[1], "the action")
            assert alone.ask("alpha", "status")[0] == 200
            assert alone.ask("alpha", "resign", {})[0] == 200
            status, document = waiting.result(timeout=20)
        assert (status, document["code"]) == (503, "lost")


def test_reports_of_strangers_and_nonsense_are_refused(cluster: Cluster) -> None:
    leader = cluster.wait_leader()
    assert cluster.ask(leader, "node_report", {"id": "ff", "hostname": "x", "at": 1})[0] == 403
    assert cluster.ask(leader, "node_report", {"id": 5})[0] == 400
    assert cluster.ask(follower(cluster), "node_report", {"id": "ff", "hostname": "x", "at": 1})[0] == 409
    for name in THREE:
        until(lambda name=name: cluster.ask(leader, "nodes")[1][name]["report"], f"the report of {name}")
    assert json.dumps(cluster.ask(leader, "nodes")[1][leader]["report"]).startswith("{")
