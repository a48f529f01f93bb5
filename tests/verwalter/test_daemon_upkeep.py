"""What administrators do to a running daemon: keys, tokens, templates, broken files, kills at bad moments."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from verwalter_cluster import QUICK, Cluster, running_cluster, until

from manor.trust.keys import generate_key
from manor.trust.tokens import make_token

THREE = ("alpha", "beta", "gamma")
RETRY = QUICK + "render: {retry: 1s, retry-max: 2s}\n"


def private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def test_keys_are_exchanged_without_losing_a_leader(tmp_path: Path) -> None:
    old, new = generate_key(), generate_key()
    key = tmp_path / "cluster.key"
    private(key, f"{old}\n")
    with running_cluster(tmp_path, *THREE) as cluster:
        leader = cluster.wait_leader()
        became = cluster.status(leader)["metrics"]["became_leader_no"]
        for lines in (f"{old}\n{new}\n", f"{new}\n{old}\n", f"{new}\n"):
            private(key, lines)
            for name in THREE:
                reloads = cluster.log(name).count(" reload")
                cluster.signal(name, signal.SIGHUP)
                until(lambda name=name, reloads=reloads: cluster.log(name).count(" reload") > reloads, "a reload")
            beats = cluster.status(leader)["metrics"]["pong_no"]
            until(lambda beats=beats: cluster.status(leader)["metrics"]["pong_no"] > beats + 8, "four beats")
        assert cluster.leaders() == [leader]
        assert cluster.status(leader)["metrics"]["became_leader_no"] == became


def test_tokens_are_asked_for_once_the_file_is_there_and_a_bad_file_leaves_the_old_ones(tmp_path: Path) -> None:
    viewer, viewer_entry = make_token("ann", "viewer")
    operator, operator_entry = make_token("bob", "operator", roles_allowed=("site*",))
    tokens = tmp_path / "tokens.yaml"
    with running_cluster(tmp_path, "alpha") as cluster:
        cluster.wait_leader()
        cluster.wait_stable()
        private(tokens, viewer_entry + operator_entry)
        cluster.signal("alpha", signal.SIGHUP)
        until(lambda: cluster.ask("alpha", "status")[0] == 401, "tokens being asked for")

        def ask(path: str, token: str, body: Any = None) -> tuple[int, Any]:
            return cluster.ask("alpha", path, body, Authorization=f"Bearer {token}")

        assert cluster.ask("alpha", "health")[0] == 200
        assert ask("whoami", viewer) == (200, {"name": "ann", "role": "viewer"})
        scale = {"button": {"role": "site", "action": "scale", "daemon": "web", "count": 4}}
        assert ask("action", viewer, scale)[0] == 403
        status, answer = ask("wait_action", operator, scale)
        assert (status, answer["ok"]) == (200, True)
        assert ask("action", operator, {"button": {"role": "database", "action": "scale"}})[0] == 403
        assert ask("resign", operator, {})[0] == 403
        assert "(by bob)" in ask("schedule", viewer)[1]["changes"][0]
        private(tokens, "- {name: ann}\n")
        cluster.signal("alpha", signal.SIGHUP)
        until(lambda: "tokens" in ask("status", viewer)[1]["errors"], "the error")
        assert ask("whoami", operator)[1]["name"] == "bob"


@pytest.mark.case("verwalter-34")
def test_a_failing_role_does_not_stop_a_good_one_and_is_tried_again(tmp_path: Path) -> None:
    with running_cluster(tmp_path, *THREE, settings=RETRY) as cluster:
        leader = cluster.wait_leader()
        cluster.wait_stable()
        name = next(name for name in THREE if name != leader)
        for one in THREE:
            cluster.write(one, "templates/bad/v1/bad.render.yaml", "commands:\n- !Cmd [false]\n")
            roles = tmp_path / one / "etc/scheduler/v1/roles.yaml"
            cluster.write(one, "runtime/bad/v1.yaml", "daemons: {web: {image: bad.1, config: /config/web.yaml}}\n")
            roles.write_text(
                f"{roles.read_text()}  bad:\n    template: bad/v1\n    daemons: {{web: {{instances: 3}}}}\n"
            )
        until(lambda: cluster.status(name)["failed_roles"] == ["bad"], "the failure")
        assert (tmp_path / name / "rendered.txt").exists()
        errors = {peer["hostname"]: peer["errors"] for peer in cluster.ask(leader, "peers")[1]}
        until(lambda: cluster.ask(leader, "nodes")[1][name]["errors"] >= 1, f"errors in pongs, not {errors}")
        attempts = (tmp_path / name / "log/bad/latest").read_text().count("RoleStart")
        until(lambda: (tmp_path / name / "log/bad/latest").read_text().count("RoleStart") > attempts, "another try")
        cluster.write(name, "templates/bad/v1/bad.render.yaml", "commands:\n- !Cmd [true]\n")
        until(lambda: cluster.status(name)["failed_roles"] == [], "a repaired template")


@pytest.mark.case("verwalter-36")
def test_a_role_that_leaves_is_taken_away_or_listed(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha", settings=RETRY) as cluster:
        removed = tmp_path / "removed.txt"
        for role in ("tidy", "untidy"):
            cluster.write("alpha", f"runtime/{role}/v1.yaml", "daemons: {web: {image: i, config: /c.yaml}}\n")
            cluster.write("alpha", f"templates/{role}/v1/a.render.yaml", "commands:\n- !Cmd [true]\n")
        cluster.write("alpha", "templates/tidy/v1/gone.txt.j2", "{{ removed }}\n")
        cluster.write(
            "alpha",
            "templates/tidy/v1/gone.remove.yaml",
            f"templates: {{gone: gone.txt.j2}}\ncommands:\n- !Sh cat {{{{ files.gone }}}} >> {removed}\n",
        )
        roles = tmp_path / "alpha/etc/scheduler/v1/roles.yaml"
        before = roles.read_text()
        more = "".join(
            f"  {role}:\n    template: {role}/v1\n    daemons: {{web: {{instances: 1}}}}\n"
            for role in ("tidy", "untidy")
        )
        roles.write_text(before + more)
        cluster.wait_leader()
        deployed = tmp_path / "alpha/var/deployed.json"
        until(lambda: deployed.exists() and set(json.loads(deployed.read_text())) >= {"tidy", "untidy"}, "both roles")
        roles.write_text(before)
        until(removed.exists, "the removal")
        until(lambda: cluster.status("alpha")["orphaned_roles"] == ["untidy"], "the orphan")
        for _ in range(3):
            cluster.ask("alpha", "force_render_all", {})
            hash = cluster.wait_stable()
        assert hash
        assert removed.read_text() == "True\n"
        assert cluster.ask("alpha", "forget_orphan", {"role": "untidy"})[0] == 200
        assert cluster.status("alpha")["orphaned_roles"] == []
        assert cluster.ask("alpha", "forget_orphan", {"role": "untidy"})[0] == 404


def test_broken_state_files_are_put_aside_and_never_stop_the_daemon(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ["alpha"])
    storage = tmp_path / "alpha/var"
    (storage / "schedule").mkdir(parents=True)
    (storage / "schedule/schedule.json").write_text('{"hash": "12", "data"')
    (storage / "election.json").write_text("]")
    (storage / "deployed.json").write_text('{"site": 5}')
    (storage / "render/leftover").mkdir(parents=True)
    try:
        cluster.start()
        until(lambda: "disk" in cluster.status("alpha").get("errors", {}), "the error")
        cluster.wait_leader()
        cluster.wait_stable()
        assert [path.name.partition("-")[0] for path in (storage / "schedule").glob("*.bad-*")] == ["schedule.json.bad"]
        assert not (storage / "render/leftover").exists()
        until(lambda: "disk" not in cluster.status("alpha")["errors"], "a schedule on the disk")
    finally:
        cluster.close()


@pytest.mark.timeout(600)
def test_a_daemon_killed_during_deployments_renders_again_and_leaves_no_half_files(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha", settings=RETRY) as cluster:
        cluster.write("alpha", "templates/site/v1/slow.render.yaml", "commands:\n- !Cmd [sleep, '0.3']\n")
        index, deployed = tmp_path / "alpha/log/.index/latest", tmp_path / "alpha/var/deployed.json"

        def begun() -> int:
            return index.read_text().count('"RoleStart"') if index.exists() else 0

        for _ in range(4):
            cluster.wait_leader()
            before = begun()
            until(lambda before=before: begun() > before, "a deployment")
            cluster.kill("alpha")
            assert not deployed.exists()
            cluster.start("alpha")
        cluster.wait_leader()
        until(lambda: deployed.exists() and json.loads(deployed.read_text())["site"]["ok"], "a whole deployment")
        for line in index.read_text().splitlines():
            assert len(json.loads(line)) == 4
        assert json.loads((tmp_path / "alpha/var/election.json").read_text())["epoch"] >= 5


def test_a_stopped_daemon_ends_with_status_0(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha") as cluster:
        cluster.wait_leader()
        cluster.signal("alpha", signal.SIGTERM)
        assert cluster.processes["alpha"].wait(timeout=20) == 0


def test_a_scheduler_that_loads_no_more_leaves_the_old_one_working(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha") as cluster:
        cluster.wait_leader()
        hash = cluster.wait_stable()
        roles = tmp_path / "alpha/etc/scheduler/v1/roles.yaml"
        good = roles.read_text()
        roles.write_text(good.replace("template", "templat"))
        until(lambda: "scheduler_load" in cluster.status("alpha")["errors"], "the error")
        rounds = cluster.status("alpha")["scheduler"]["rounds"]
        until(lambda: cluster.status("alpha")["scheduler"]["rounds"] > rounds, "another round")
        assert cluster.wait_stable() == hash
        assert "roles.yaml:" in cluster.status("alpha")["errors"]["scheduler_load"]
        roles.write_text(good)
        until(lambda: cluster.status("alpha")["errors"] == {}, "the repaired file")
