"""The declarative scheduler on a made-up cluster: rounds are fed with what lithos would report of the last one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from manor.config.errors import ConfigError
from manor.verwalter.scheduler.roles import load_roles

ROUND_MS = 5000


def web(version: str) -> dict[str, Any]:
    return {"daemons": {"web": {"image": f"site.{version}", "config": "/config/web.yaml"}}}


class MadeUpCluster:
    """Nodes that do at once what the schedule says, and tell it in their next report."""

    def __init__(self, tmp_path: Path, roles: str, hosts: int = 3) -> None:
        path = tmp_path / "roles.yaml"
        path.write_text(f"schema: 1\nnode-suspect: 10s\nnode-dead: 30s\nroles:\n{roles}")
        self.run = load_roles(path)
        self.now = 1_000_000
        self.ages = {f"n{number}": 0 for number in range(hosts)}
        self.labels: dict[str, dict[str, str]] = {}
        self.runtime: dict[str, Any] = {"site": {"v1": web("v1"), "v2": web("v2")}}
        del self.runtime["site"]["v2"]
        self.parents: list[dict[str, Any]] = []
        self.never_ready: set[str] = set()  # images whose processes start but do not become ready
        self.since: dict[tuple[str, str], int] = {}
        self.changes: list[str] = []
        self.answers: dict[str, Any] = {}
        self.majority = True

    def report(self, host: str) -> dict[str, Any]:
        instances = {}
        newest = self.parents[0] if self.parents else {"nodes": {}}
        for role, part in newest["nodes"].get(host, {}).get("roles", {}).items():
            for entry in part["daemons"].values():
                for index in range(entry["instances"]):
                    name = f"{role}/{entry['key']}.{index}"
                    since = self.since.setdefault((host, name + entry["image"]), self.now)
                    state = "starting" if entry["image"] in self.never_ready else "ready"
                    instances[name] = {
                        "state": state,
                        "since": since,
                        "restarts": 0,
                        "image": entry["image"],
                        "error": None,
                    }
        images = [process["image"] for one in self.runtime["site"].values() for process in one["daemons"].values()]
        return {"machine": {"labels": self.labels.get(host, {})}, "instances": instances,
                "sandboxes": {"site": {"images": images, "incoming": {}}}}  # fmt: skip

    def round(self, *buttons: dict[str, Any], after_ms: int = ROUND_MS) -> dict[str, Any]:
        self.now += after_ms
        nodes = {
            host: {
                "id": host,
                "self": False,
                "responsive": True,
                "age_ms": age,
                "errors": 0,
                "report": self.report(host),
            }
            for host, age in self.ages.items()
        }
        document = {
            "now": self.now,
            "parents": copy.deepcopy(self.parents),
            "parent_info": [{"hash": f"h{n}", "timestamp": self.now - n} for n in range(len(self.parents))],
            "actions": {str(self.now + n): {"button": button, "by": "ann"} for n, button in enumerate(buttons)},
            "runtime": self.runtime,
            "nodes": nodes,
            "partition": {"majority": self.majority, "minority_allowed": True, "total": 3, "responsive": 3},
        }
        before = json.dumps(document, sort_keys=True)
        schedule, _, answers = self.run(document)
        assert json.dumps(document, sort_keys=True) == before, "the input was changed"
        self.changes += schedule.pop("changes")
        schedule.pop("next_run", None)
        self.answers = answers
        self.parents = [json.loads(json.dumps(schedule))]
        return schedule

    def placed(self, daemon: str = "web") -> dict[str, int]:
        """Host name -> instances, all slots together."""
        counts: dict[str, int] = {}
        for host, node in self.parents[0]["nodes"].items():
            for entry in node["roles"].get("site", {}).get("daemons", {}).values():
                if entry["daemon"] == daemon:
                    counts[host] = counts.get(host, 0) + entry["instances"]
        return counts

    def by_version(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.parents[0]["nodes"].values():
            for entry in node["roles"].get("site", {}).get("daemons", {}).values():
                counts[entry["version"]] = counts.get(entry["version"], 0) + entry["instances"]
        return counts


SITE_OF_FIVE = """
  site:
    template: site/v1
    daemons: { web: { instances: 5 } }
"""
SITE_OF_TEN = """
  site:
    template: site/v1
    update: { strategy: rolling, batch: 2, warmup: 1s, max-surge: 1, up-timeout: 60s, health: { min-age: 1s } }
    daemons: { web: { instances: 10 } }
"""


@pytest.mark.case("verwalter-46")
def test_instances_are_spread_kept_moved_from_the_dead_and_not_moved_back(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    first = cluster.round()
    assert sorted(cluster.placed().values()) == [1, 2, 2]
    assert all(cluster.round() == first for _ in range(100))

    loser = max(cluster.placed(), key=lambda host: cluster.placed()[host])
    cluster.ages[loser] = 20_000
    cluster.round()
    assert loser in cluster.placed(), "a suspect node keeps what it has"
    cluster.ages[loser] = 31_000
    for _ in range(3):  # one of three nodes is more than 30 %: one instance a round
        cluster.round()
    survivors = cluster.placed()
    assert sorted(survivors.values()) == [2, 3]
    assert loser not in survivors

    cluster.ages[loser] = 0
    cluster.round()
    assert cluster.placed() == survivors
    assert cluster.parents[0]["nodes"][loser]["roles"]["site"]["daemons"] == {}


@pytest.mark.case("verwalter-48")
def test_a_rolling_update_never_serves_with_fewer_and_ends_after_its_substeps(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_TEN)
    cluster.round()
    cluster.runtime["site"]["v2"] = web("v2")
    cluster.round()
    assert cluster.by_version() == {"v1": 10}, "versions change when told, not by themselves"

    cluster.round({"role": "site", "action": "start_update", "to_version": "v2"})
    assert list(cluster.answers.values()) == [{"ok": True, "message": "update v1 -> v2"}]
    substeps = set()
    for _ in range(200):
        cluster.round(after_ms=1500)
        assert 10 <= sum(cluster.by_version().values()) <= 11
        update = cluster.parents[0]["state"]["site"].get("update")
        if update is None:
            break
        substeps.add(update["smooth_step"])
    assert cluster.by_version() == {"v2": 10}
    assert substeps - {0} == {1, 2, 3, 4, 5}
    assert cluster.parents[0]["state"]["site"]["slots"] == {"b": "v2"}, (
        "the new version keeps its slot: nothing restarts"
    )
    assert "site: updated v1 -> v2" in cluster.changes


@pytest.mark.case("verwalter-70")
def test_a_version_whose_processes_never_become_ready_is_rolled_back(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_TEN)
    cluster.round()
    cluster.runtime["site"]["v2"] = web("v2")
    cluster.never_ready.add("site.v2")
    cluster.round({"role": "site", "action": "start_update", "to_version": "v2"})
    directions = []
    for _ in range(60):
        cluster.round()
        counts = cluster.by_version()
        assert counts.get("v2", 0) <= 2, "not beyond the first substep"
        assert counts["v1"] >= 9
        directions.append(cluster.parents[0]["state"]["site"].get("update", {}).get("direction"))
    assert "backward" in directions
    assert cluster.by_version() == {"v1": 10}
    assert "v2" in cluster.parents[0]["state"]["site"]["failed"]
    assert any("do not become ready" in line for line in cluster.changes)


def test_a_failed_version_is_not_tried_again_by_itself(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_TEN.replace("template", "version: { policy: latest }\n    template"))
    cluster.round()
    cluster.runtime["site"]["v2"] = web("v2")
    cluster.never_ready.add("site.v2")
    for _ in range(60):
        cluster.round()
    assert sum("(automatic)" in line for line in cluster.changes) == 1
    assert cluster.by_version() == {"v1": 10}


def test_the_image_must_be_everywhere_before_an_instance_starts(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_TEN)
    cluster.round()
    cluster.runtime["site"]["v2"] = web("v2")
    arrived = cluster.report
    cluster.report = lambda host: {**arrived(host), "sandboxes": {"site": {"images": ["site.v1"]}}}  # type: ignore[method-assign]
    cluster.round({"role": "site", "action": "start_update", "to_version": "v2"})
    for _ in range(20):
        cluster.round()
    assert cluster.by_version() == {"v1": 10}
    cluster.report = arrived  # type: ignore[method-assign]
    for _ in range(40):
        cluster.round()
    assert cluster.by_version() == {"v2": 10}


def test_scaling_lasts_until_it_is_taken_back(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    cluster.round()
    before = cluster.placed()
    cluster.round({"role": "site", "action": "scale", "daemon": "web", "count": 7})
    assert sorted(cluster.placed().values()) == [2, 2, 3]
    assert all(cluster.placed()[host] >= count for host, count in before.items()), "nothing moves for it"
    assert cluster.changes[-1] == "site: web scaled to 7 (by ann)"
    cluster.round({"role": "site", "action": "scale", "daemon": "web", "count": "auto"})
    assert sum(cluster.placed().values()) == 5


@pytest.mark.parametrize(
    ("button", "error"),
    [
        ({"role": "sit", "action": "scale"}, "unknown role `sit`"),
        ({"role": "site", "action": "dance"}, "unknown action `dance`; known are"),
        ({"role": "site", "action": "scale", "daemon": "wbe", "count": 1}, "unknown daemon `wbe`; known are web"),
        ({"role": "site", "action": "scale", "daemon": "web", "count": 100_001}, "is not a number from 0 to 100000"),
        ({"role": "site", "action": "start_update", "to_version": "v1"}, "v1 is the present version already"),
        ({"role": "site", "action": "start_update", "to_version": "v9"}, "unknown version `v9`; known are v1"),
        ({"role": "site", "action": "update_action", "update_action": "pause"}, "no update is running"),
    ],
)
def test_a_refused_action_says_why_and_changes_nothing(tmp_path: Path, button: dict[str, Any], error: str) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    before = cluster.round()
    assert cluster.round(button) == before
    (answer,) = cluster.answers.values()
    assert answer["ok"] is False
    assert error in answer["error"]


def test_an_update_is_paused_resumed_and_reverted(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_TEN)
    cluster.round()
    cluster.runtime["site"]["v2"] = web("v2")
    cluster.round({"role": "site", "action": "start_update", "to_version": "v2"})
    while cluster.by_version().get("v2", 0) < 3:
        cluster.round()
    cluster.round({"role": "site", "action": "update_action", "update_action": "pause"})
    paused = cluster.by_version()
    for _ in range(10):
        cluster.round()
    assert cluster.by_version()["v2"] <= paused["v2"] + 2, "what the substep began is finished, no more"
    cluster.round({"role": "site", "action": "update_action", "update_action": "revert"})
    for _ in range(40):
        cluster.round()
    assert cluster.by_version() == {"v1": 10}
    assert "update" not in cluster.parents[0]["state"]["site"]


def test_a_node_whose_report_is_missing_keeps_what_its_labels_allowed(tmp_path: Path) -> None:
    cluster = MadeUpCluster(
        tmp_path, SITE_OF_FIVE.replace("instances: 5", "instances: 1, placement: { require: [database] }")
    )
    cluster.labels["n1"] = {"database": "true"}
    cluster.round()
    assert cluster.placed() == {"n1": 1}
    known = cluster.report
    cluster.report = lambda host: {}  # type: ignore[method-assign]  # a new leader has no reports yet
    cluster.round()
    assert cluster.placed() == {"n1": 1}
    cluster.report = known  # type: ignore[method-assign]
    cluster.labels["n1"] = {}
    cluster.round()
    assert cluster.placed() == {}
    assert cluster.parents[0]["roles"]["site"]["unplaced"] == {"web": 1}


def test_in_a_minority_nothing_is_decided(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    cluster.round()
    before = cluster.placed()
    cluster.majority = False
    cluster.ages["n0"] = 31_000
    cluster.round({"role": "site", "action": "scale", "daemon": "web", "count": 9})
    assert {host: count for host, count in before.items() if host != "n0"} == cluster.placed()
    (answer,) = cluster.answers.values()
    assert "no majority" in answer["error"]


@pytest.mark.case("verwalter-56")
def test_two_parents_give_one_result_whatever_their_order(tmp_path: Path) -> None:
    one, other = MadeUpCluster(tmp_path, SITE_OF_TEN), MadeUpCluster(tmp_path, SITE_OF_TEN)
    one.round()
    other.round()
    for side in (one, other):
        side.runtime["site"]["v2"] = web("v2")
        side.runtime["site"]["v3"] = web("v3")
    one.round({"role": "site", "action": "force_version", "to_version": "v2"})
    other.round({"role": "site", "action": "scale", "daemon": "web", "count": 6}, after_ms=6000)
    other.round({"role": "site", "action": "force_version", "to_version": "v3"}, after_ms=9000)
    results = []
    pairs = [("one", one.parents[0], 100), ("other", other.parents[0], 200)]
    for order in (pairs, pairs[::-1]):
        document = {
            "now": 2_000_000,
            "parents": [copy.deepcopy(data) for _, data, _ in order],
            "parent_info": [{"hash": name, "timestamp": at} for name, _, at in order],
            "actions": {},
            "runtime": one.runtime,
            "nodes": {host: {"age_ms": 0, "report": one.report(host)} for host in one.ages},
            "partition": {"majority": True},
        }
        results.append(one.run(document)[0])
    assert json.dumps(results[0], sort_keys=True) == json.dumps(results[1], sort_keys=True)
    state = results[0]["state"]["site"]
    assert state["version"] == "v3", "the version with the later stamp wins"
    assert state["overrides"] == {"web": 6}, "a decision made on one side only is not lost"


def test_a_role_whose_state_cannot_be_read_is_frozen_not_started_from_nothing(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    cluster.round()
    before = cluster.placed()
    cluster.parents[0]["state"]["site"] = {"version": 7}
    cluster.round()
    assert cluster.placed() == before
    assert cluster.parents[0]["roles"]["site"]["info"]["error"] == "state_invalid"


def test_metadata_that_lacks_a_daemon_makes_only_that_version_unusable(tmp_path: Path) -> None:
    cluster = MadeUpCluster(tmp_path, SITE_OF_FIVE)
    cluster.runtime["site"]["v2"] = {"daemons": {"worker": {"image": "x", "config": "/y"}}}
    cluster.round()
    assert cluster.by_version() == {"v1": 5}
    assert cluster.parents[0]["roles"]["site"]["bad_versions"] == {"v2": "`daemons.web` is missing"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("    daemons: { web: { instances: -1 } }", "4:34: "),
        ("    daemons: { web: { instnces: 1 } }", "did you mean `instances`?"),
        ("    daemons: { web: { ports: { port: {} } } }", "`ports` is not supported yet"),
        ("    update: { strategy: canary }", "strategy `canary` is not supported yet; use `rolling`"),
        ("    update: { strategy: rollin }", "rolling"),
        ("    version: { policy: pinned }", "`pin` and the policy `pinned` belong together"),
    ],
)
def test_a_bad_declaration_is_told_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(f"schema: 1\nroles:\n  site:\n{text}\n    template: site/v1\n")
    with pytest.raises(ConfigError) as caught:
        load_roles(path)
    assert str(caught.value).startswith(f"{path}:4:")
    assert line in str(caught.value)
