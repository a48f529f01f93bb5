"""A master and its containers through starts, deaths, changes and ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from lithos_machine import SLEEPER, Machine, shell, wait_until

WEB = {"web": {"image": "first", "config": "/config/web.yaml", "instances": 2}}


def sleepers(machine: Machine, **options: object) -> None:
    machine.image("first", {"web": {**SLEEPER, **options}})
    machine.processes(WEB)
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")


@pytest.mark.case("lithos-01")
def test_two_instances_run_with_mapped_ids_in_their_own_groups(machine: Machine) -> None:
    maps = [{"inside": 0, "outside": 100_000, "count": 1000}]
    machine.sandbox("shop", **{"uid-map": maps, "gid-map": maps})
    sleepers(machine)
    for index in (0, 1):
        pid = machine.pid(f"shop/web.{index}")
        assert os.stat(f"/proc/{pid}").st_uid == 100_001
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        memory = next(line for line in groups if ":memory:" in line)
        assert memory.endswith(f"{machine.cgroup}/shop:web.{index}.scope")


@pytest.mark.case("lithos-02")
def test_a_killed_process_runs_again_not_before_its_restart_timeout(machine: Machine) -> None:
    sleepers(machine, **{"restart-timeout": 3})
    before = machine.instances()["shop/web.0"]
    os.kill(machine.pid("shop/web.0"), signal.SIGKILL)
    wait_until(lambda: machine.instances()["shop/web.0"].state == "waiting", "the gap")
    wait_until(lambda: machine.instances()["shop/web.0"].state == "ready", "a new start")
    after = machine.instances()["shop/web.0"]
    assert after.pid != before.pid and after.restarts == 1
    assert after.since - before.since >= 2900
    assert machine.metric("processes.shop.web", "failures") == 1
    assert "killed by signal SIGKILL[9]" in machine.output()


@pytest.mark.case("lithos-03")
def test_what_exits_at_once_is_started_every_restart_timeout(machine: Machine) -> None:
    machine.image("first", {"web": shell("exit 0", **{"restart-timeout": 2})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    wait_until(lambda: "Starting" in machine.output())
    began = time.monotonic()
    wait_until(lambda: machine.output().count("----- Starting") == 6, "six starts")
    assert time.monotonic() - began >= 9.5
    assert "exited with code 0" in machine.output()


@pytest.mark.case("lithos-04")
def test_a_removed_entry_gets_one_term_and_leaves_nothing(machine: Machine) -> None:
    trap = "trap 'echo got TERM; exit 0' TERM; echo up; while :; do busybox sleep 0.1; done"
    machine.image("first", {"web": shell(trap, environ={"PATH": "/bin"})})
    machine.processes(WEB)
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")
    wait_until(lambda: machine.said("up") == 2)
    assert machine.switch({}).returncode == 0
    wait_until(lambda: machine.status() is not None and machine.states() == {}, machine.describe())
    assert machine.said("got TERM") == 2
    assert machine.groups() == []
    assert not list((machine.run_dir / "state").rglob("*"))
    assert not list((machine.run_dir / "containers").iterdir())
    assert not list((machine.run_dir / "bundles").iterdir())


@pytest.mark.case("lithos-05")
def test_one_more_instance_leaves_the_others_alone(machine: Machine) -> None:
    sleepers(machine)
    before = [machine.pid(f"shop/web.{i}") for i in (0, 1)]
    assert machine.switch({"web": {**WEB["web"], "instances": 3}}).returncode == 0
    machine.wait_states(web_0="ready", web_1="ready", web_2="ready")
    assert [machine.pid(f"shop/web.{i}") for i in (0, 1)] == before


@pytest.mark.case("lithos-06")
def test_a_new_image_replaces_every_process_after_its_term(machine: Machine) -> None:
    trap = "trap 'echo got TERM; exit 0' TERM; echo up; while :; do busybox sleep 0.1; done"
    for image in ("first", "second"):
        machine.image(image, {"web": shell(trap, environ={"PATH": "/bin"})})
    machine.processes(WEB)
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")
    wait_until(lambda: machine.said("up") == 2)
    before = {machine.pid(f"shop/web.{i}") for i in (0, 1)}
    assert machine.switch({"web": {**WEB["web"], "image": "second"}}).returncode == 0
    wait_until(lambda: [one.image for one in machine.instances().values()] == ["second", "second"], "the new image")
    machine.wait_states(web_0="ready", web_1="ready")
    assert before.isdisjoint({machine.pid(f"shop/web.{i}") for i in (0, 1)})
    assert machine.said("got TERM") == 2
    assert all(one.restarts == 0 for one in machine.instances().values())


@pytest.mark.case("lithos-07")
def test_restarts_in_place_change_no_pid(machine: Machine) -> None:
    sleepers(machine)
    before = [machine.pid(f"shop/web.{i}") for i in (0, 1)]
    master = machine.master
    assert master is not None
    machine.restarted(1)
    machine.signal(signal.SIGHUP)
    machine.restarted(2)
    machine.wait_states(web_0="ready", web_1="ready")
    machine.signal(signal.SIGQUIT)
    machine.restarted(3)
    assert master.poll() is None
    assert (machine.run_dir / "master.pid").read_text() == f"{master.pid}\n"
    status = machine.wait_states(web_0="ready", web_1="ready")
    assert [status[f"shop/web.{i}"].pid for i in (0, 1)] == before


@pytest.mark.case("lithos-10")
def test_what_ignores_term_is_killed_after_its_timeout(machine: Machine) -> None:
    script = "trap 'echo got TERM' TERM; echo up; while :; do busybox sleep 0.1; done"
    machine.image("first", {"web": shell(script, environ={"PATH": "/bin"}, **{"kill-timeout": 2})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}, "other": WEB["web"]})
    machine.start()
    machine.wait_states(web_0="ready", other_0="ready", other_1="ready")
    wait_until(lambda: machine.said("up") == 3)
    failures = machine.metric("containers", "failures")
    assert machine.switch({"web": {"image": "first", "config": "/config/web.yaml"}}).returncode == 0
    wait_until(lambda: machine.states().get("shop/other.0") == "stopping", "the stop")
    began = time.monotonic()
    machine.wait_states(web_0="ready")
    assert time.monotonic() - began >= 1.0
    assert 'Process "shop/other.0" still alive 2s after SIGTERM, killing it' in machine.output()
    assert machine.said("got TERM") == 2
    assert machine.metric("containers", "failures") == failures + 2  # type: ignore[operator]


@pytest.mark.case("lithos-11")
def test_a_kill_timeout_goes_on_over_a_restart_in_place(machine: Machine) -> None:
    script = "trap 'echo got TERM' TERM; echo up; while :; do busybox sleep 0.1; done"
    machine.image("first", {"web": shell(script, environ={"PATH": "/bin"}, **{"kill-timeout": 10})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="ready")
    wait_until(lambda: machine.said("up"))
    began = time.monotonic()
    assert machine.switch({}).returncode == 0
    machine.restarted(2)
    time.sleep(max(0.0, began + 5 - time.monotonic()))  # the case's own moment: half of the timeout
    machine.signal(signal.SIGHUP)
    machine.restarted(3)
    wait_until(lambda: machine.status() is not None and machine.states() == {}, "the kill")
    assert 9.5 <= time.monotonic() - began <= 14
    assert machine.said("got TERM") == 1


@pytest.mark.case("lithos-12")
def test_a_second_master_is_refused_and_a_stop_leaves_nothing(machine: Machine) -> None:
    sleepers(machine)
    before = machine.pid("shop/web.0")
    second = machine.run("lithos_tree", "-C", machine.config)
    assert second.returncode == 1
    assert machine.master is not None
    assert f"another lithos_tree (pid {machine.master.pid}) is running" in second.stderr
    assert machine.pid("shop/web.0") == before
    assert machine.stop() == 0
    assert machine.output().count("killed by signal SIGTERM[15]") == 2
    assert machine.leftovers() == []


def test_an_adopted_container_is_retired_when_its_entry_is_gone(machine: Machine) -> None:
    sleepers(machine)
    pids = [machine.pid(f"shop/web.{i}") for i in (0, 1)]
    machine.kill()
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    machine.start()
    machine.restarted(2)
    assert [machine.pid(f"shop/web.{i}") for i in (0, 1)] == pids
    machine.processes({})
    machine.signal(signal.SIGHUP)
    wait_until(lambda: machine.states() == {} and not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end")
    assert "killed by signal SIGTERM[15]" in machine.output()


@pytest.mark.case("lithos-46")
def test_metrics_tell_what_happened(machine: Machine) -> None:
    sleepers(machine)
    os.kill(machine.pid("shop/web.0"), signal.SIGKILL)
    wait_until(lambda: machine.instances()["shop/web.0"].restarts == 1)
    machine.wait_states(web_0="ready", web_1="ready")
    lines = (machine.run_dir / "metrics.meta").read_text().splitlines()
    assert lines[0] == 'counter 8: {"group":"master","metric":"restarts"}'
    expected = {
        ("master", "restarts"): 1,
        ("master", "sandboxes"): 1,
        ("master", "containers"): 2,
        ("master", "queue"): 0,
        ("containers", "started"): 3,
        ("containers", "deaths"): 1,
        ("containers", "failures"): 1,
        ("containers", "running"): 2,
        ("containers", "unknown"): 0,
        ("processes.shop.web", "started"): 3,
        ("processes.shop.web", "deaths"): 1,
        ("processes.shop.web", "failures"): 1,
        ("processes.shop.web", "unhealthy"): 0,
        ("processes.shop.web", "running"): 2,
        ("processes.shop.web", "ready"): 2,
    }
    assert {place: machine.metric(*place) for place in expected} == expected
    assert len(lines) == len(expected)
    assert len((machine.run_dir / "metrics.values").read_bytes()) == 4096


@pytest.mark.case("lithos-58")
def test_metrics_files_stay_until_an_entry_comes(machine: Machine) -> None:
    sleepers(machine)
    inode = (machine.run_dir / "metrics.values").stat().st_ino
    machine.signal(signal.SIGHUP)
    machine.restarted(2)
    assert (machine.run_dir / "metrics.values").stat().st_ino == inode
    assert machine.metric("processes.shop.web", "started") == 2
    assert machine.switch({**WEB, "more": WEB["web"]}).returncode == 0
    machine.wait_states(web_0="ready", web_1="ready", more_0="ready", more_1="ready")
    assert (machine.run_dir / "metrics.values").stat().st_ino != inode
    assert machine.metric("processes.shop.web", "started") == 2
    assert machine.metric("processes.shop.more", "started") == 2


@pytest.mark.case("lithos-48")
@pytest.mark.alone("lithos-without-group")  # runc then names the group by the container alone
def test_without_a_group_nothing_is_limited(machine: Machine) -> None:
    machine.write_master(**{"cgroup-name": None})
    sleepers(machine, **{"memory-limit": "20Mi"})
    groups = Path(f"/proc/{machine.pid('shop/web.0')}/cgroup").read_text().splitlines()
    memory = next(line for line in groups if ":memory:" in line).rpartition(":")[2]
    limit = int(Path(f"/sys/fs/cgroup/memory{memory}/memory.limit_in_bytes").read_text())
    assert limit > 2**50
    assert machine.stop() == 0


def test_a_container_the_master_was_starting_when_it_died_is_taken_or_removed(machine: Machine) -> None:
    """The record is there before the runtime is called: whatever had come of it, one container runs afterwards."""
    machine.image("first", {"web": SLEEPER})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml", "instances": 6}})
    machine.start()
    wait_until(lambda: len(list((machine.run_dir / "containers").glob("*.json"))) >= 2)
    machine.kill()
    machine.start()
    machine.restarted(2)
    machine.wait_states(**{f"web_{index}": "ready" for index in range(6)})
    assert len(machine.groups()) == 6
    assert machine.stop() == 0
    assert machine.leftovers() == []


def test_what_a_master_did_not_make_is_removed_with_a_warning(machine: Machine) -> None:
    sleepers(machine)
    machine.kill()
    state = machine.run_dir / "state/shop/gone.0"
    state.mkdir()
    (machine.run_dir / "bundles/shop+gone.0").mkdir()
    machine.start()
    machine.restarted(2)
    machine.wait_states(web_0="ready", web_1="ready")
    assert not state.exists() and not (machine.run_dir / "bundles/shop+gone.0").exists()
    assert f"Removing the state dir {state} of no container" in machine.log()
