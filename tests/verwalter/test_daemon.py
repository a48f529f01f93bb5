"""Three daemons on loopback: they elect, agree on one schedule, survive what happens to them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from verwalter_cluster import Cluster, free_block, running_cluster, until

from manor.trust.keys import ClusterKeys, generate_key
from manor.verwalter.election import Ping
from manor.verwalter.packets import Packet, encode

THREE = ("alpha", "beta", "gamma")


@pytest.mark.case("verwalter-02", "verwalter-03")
def test_three_nodes_agree_and_replace_a_killed_leader(tmp_path: Path) -> None:
    # with the times of the defaults; that they are short enough is proven under virtual time, in the simulation
    with running_cluster(tmp_path, *THREE, settings="") as cluster:
        leader = cluster.wait_leader()
        hash = cluster.wait_stable()
        assert cluster.leaders() == [leader]
        epoch = cluster.status(leader)["election_state"]["epoch"]
        _, before = cluster.ask(leader, "schedule")
        assert before["hash"] == hash
        assert before["data"]["state"]["site"]["version"] == "v1"

        cluster.kill(leader)
        (successor,) = until(cluster.leaders, "another leader")
        assert cluster.status(successor)["election_state"]["epoch"] > epoch
        until(lambda: cluster.status(successor)["fetch_state"]["state"] == "StableLeader")
        cluster.wait_stable()
        _, after = cluster.ask(successor, "schedule")
        assert after["data"]["state"]["site"]["version_ts"] == before["data"]["state"]["site"]["version_ts"]
        assert after["origin"] == cluster.id(successor)


@pytest.mark.case("verwalter-04")
def test_a_stopped_leader_does_not_lead_when_it_goes_on(tmp_path: Path) -> None:
    with running_cluster(tmp_path, *THREE) as cluster:
        leader = cluster.wait_leader()
        others = [name for name in THREE if name != leader]
        pings = cluster.status(leader)["metrics"]["became_leader_no"]
        cluster.signal(leader, signal.SIGSTOP)
        time.sleep(4.0)  # the length of the stop is what is tested: more than overslept
        successor = cluster.wait_leader(among=others)
        cluster.signal(leader, signal.SIGCONT)
        assert cluster.wait_leader() == successor
        assert cluster.leaders() == [successor]
        assert cluster.status(leader)["metrics"]["became_leader_no"] == pings, "it did not lead a second time"


@pytest.mark.case("verwalter-11")
def test_a_leader_whose_cantal_is_gone_steps_down(tmp_path: Path) -> None:
    with running_cluster(tmp_path, *THREE) as cluster:
        leader = cluster.wait_leader()
        cluster.wait_stable()
        cluster.stop_cantal(leader)
        until(lambda: leader not in cluster.leaders() and cluster.leaders(), "another leader")
        until(lambda: "cantal" in cluster.status(leader)["errors"], "the error")
        cluster.start_cantal(leader)
        until(lambda: cluster.status(leader)["errors"] == {}, "cantal's return")
        assert cluster.wait_leader() in THREE


@pytest.mark.case("verwalter-12")
def test_a_forged_ping_changes_nothing(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    key.write_text(generate_key() + "\n")
    key.chmod(0o600)
    with running_cluster(tmp_path, *THREE) as cluster:
        leader = cluster.wait_leader()
        victim = next(name for name in THREE if name != leader)
        dropped = cluster.status(victim)["metrics"]["packets_dropped"]
        wrong = ClusterKeys.parse(generate_key(), "forged").purpose("election")
        forged = Packet(cluster.id(leader), Ping(10**6), "default", "local", b"12345678", 10**9)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            for keys in (wrong, None):
                channel.sendto(encode(forged, keys), (cluster.address[victim], cluster.port))
        until(lambda: cluster.status(victim)["metrics"]["packets_dropped"] == dropped + 2, "the counter")
        assert cluster.wait_leader() == leader
        assert cluster.status(victim)["election_state"]["epoch"] < 10**6


def test_two_sides_that_were_cut_give_both_their_schedules_to_the_next_round(tmp_path: Path) -> None:
    # each node first lives alone: nobody's cantal knows anybody
    with running_cluster(tmp_path, "alpha", "beta", flags=["--allow-minority-cluster"]) as cluster:
        cluster.close()
        cluster.processes.clear()
        cluster.cantals.clear()
        for name in cluster.names:
            cluster.names, all_names = [name], cluster.names
            cluster.start_cantal(name)
            cluster.names = all_names
        (tmp_path / "alpha/etc/runtime/site/v2.yaml").write_text(
            "daemons: {web: {image: site.2, config: /config/web.yaml}}\n"
        )
        cluster.start()
        until(lambda: sorted(cluster.leaders()) == ["alpha", "beta"], "two leaders")
        hashes = {name: until(lambda name=name: cluster.status(name)["schedule_id"]) for name in cluster.names}
        assert hashes["alpha"] != hashes["beta"]
        for name in cluster.names:
            cluster.stop_cantal(name)
            cluster.start_cantal(name)
        leader = cluster.wait_leader()

        def has_both() -> bool:
            _, info = cluster.ask(leader, "scheduler_input")
            _, envelope = cluster.ask(leader, "schedule")
            known = {hash for hash, _ in envelope["ancestors"]} | {envelope["hash"]}
            known |= {parent["hash"] for parent in info.get("parent_info", ())}
            return set(hashes.values()) <= known

        until(has_both, "both schedules")


@pytest.mark.case("verwalter-35")
def test_a_role_is_rendered_everywhere_once_and_again_only_where_something_changed(tmp_path: Path) -> None:
    with running_cluster(tmp_path, *THREE) as cluster:
        leader = cluster.wait_leader()
        cluster.wait_stable()
        rendered = {name: tmp_path / name / "rendered.txt" for name in THREE}
        until(lambda: all(path.exists() for path in rendered.values()), "a rendered file on each node")
        until(lambda: all(report_ok(cluster, leader, name) for name in THREE), "all reports ok")
        before = {name: path.read_text() for name, path in rendered.items()}
        for name in THREE:  # one instance more: one node's part changes
            cluster.write(
                name,
                "scheduler/v1/roles.yaml",
                (tmp_path / name / "etc/scheduler/v1/roles.yaml").read_text().replace("instances: 3", "instances: 4"),
            )
        until(lambda: [n for n in THREE if rendered[n].read_text() != before[n]], "a new deployment")
        until(lambda: all(report_ok(cluster, leader, name) for name in THREE), "all reports ok")
        assert len([name for name in THREE if rendered[name].read_text() != before[name]]) == 1
        index = [json.loads(line) for line in (tmp_path / leader / "log/.index/latest").read_text().splitlines()]
        assert [marker for *_, marker in index][:4] == ["DeploymentStart", "DeploymentChanges", "RoleStart", ANY_ACTION]


class _Action:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and other["variant"] == "ActionStart"


ANY_ACTION = _Action()


def report_ok(cluster: Cluster, leader: str, name: str) -> bool:
    nodes = cluster.ask(leader, "nodes")[1]
    report = nodes[name]["report"] if isinstance(nodes, dict) and name in nodes else None
    newest = cluster.status(leader)["schedule_id"]
    return bool(report and report["schedule"] == newest and report["deployed"].get("site", {}).get("ok"))


def test_a_daemon_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "alpha") as cluster:
        cluster.wait_leader()
        hash = cluster.wait_stable()
        epoch = cluster.status("alpha")["election_state"]["epoch"]
        until(lambda: cluster.ask("alpha", "schedule")[0] == 200)
        for _ in range(3):
            cluster.kill("alpha")
            cluster.start("alpha")
            cluster.wait_leader()
            assert cluster.wait_stable() == hash
        assert cluster.status("alpha")["election_state"]["epoch"] > epoch
        assert json.loads((tmp_path / "alpha/var/election.json").read_text())["epoch"] > epoch


# What is refused at the start


def start(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (address,), port = free_block(1)
    places = {
        "--config-dir": "etc",
        "--storage-dir": "var",
        "--log-dir": "log",
        "--key-file": "key",
        "--tokens-file": "t",
    }
    words = [word for flag, name in places.items() for word in (flag, str(tmp_path / name))]
    command = [sys.executable, "-m", "manor.verwalter.daemon", *words, "--host", address, "--port", str(port), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.case("verwalter-64")
def test_others_are_not_listened_to_without_key_and_tokens(tmp_path: Path) -> None:
    refused = start(tmp_path, "--host", "0.0.0.0")
    assert refused.returncode == 6
    (line,) = refused.stderr.splitlines()
    assert "a cluster key (`verwalter-ctl key generate" in line
    assert "tokens (`verwalter-ctl token create" in line


@pytest.mark.parametrize("id", ["", "xyz", "0" * 31])
def test_a_bad_machine_id_is_one_line_and_status_3(tmp_path: Path, id: str) -> None:
    refused = start(tmp_path, "--override-machine-id", id)
    assert refused.returncode == 3
    assert "is no machine id; 32 hexadecimal digits would be right" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_bad_settings_are_refused_with_their_place(tmp_path: Path) -> None:
    settings = tmp_path / "etc/verwalter.yaml"
    settings.parent.mkdir()
    settings.write_text("cluster: a\nelection: {sticky: 5s}\nporrt: 5\n")
    refused = start(tmp_path, "--override-machine-id", "0" * 32)
    assert refused.returncode == 3
    assert f"{settings}:2:11: `sticky` must be below the shortest `message-timeout`" in refused.stderr
    assert f"{settings}:3:1: unknown option `porrt`" in refused.stderr


def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    (address,), port = free_block(1)
    with socket.create_server((address, port)):
        refused = start(tmp_path, "--override-machine-id", "0" * 32, "--host", address, "--port", str(port))
    assert refused.returncode == 3
    assert f"cannot listen on {address}:{port}" in refused.stderr


def test_check_says_what_a_start_would_not_like(tmp_path: Path) -> None:
    roles = tmp_path / "etc/scheduler/v1/roles.yaml"
    roles.parent.mkdir(parents=True)
    roles.write_text("schema: 1\nroles: {site: {}}\n")
    assert start(tmp_path, "--check").returncode == 4
    roles.write_text("schema: 1\nroles: {site: {template: site/v1}}\n")
    assert start(tmp_path, "--check").returncode == 0
    (tmp_path / "etc/runtime").mkdir()
    (tmp_path / "etc/runtime/bad.yaml").write_text("a: [")
    checked = start(tmp_path, "--check")
    assert checked.returncode == 5
    assert "bad.yaml:" in checked.stderr
