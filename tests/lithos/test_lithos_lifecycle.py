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
