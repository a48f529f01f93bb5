"""Readiness, health and order: what status.json says, and what follows from it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any

import pytest
from lithos_machine import SLEEPER, Machine, free_port, shell, wait_until

WITH_PATH = {"environ": {"PATH": "/bin"}}


class Watcher:
    """Keeps every state that status.json ever had for each instance, in order."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.seen: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            for name, state in self._machine.states().items():
                states = self.seen.setdefault(name, [])
                if states[-1:] != [state]:
                    states.append(state)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def http_machine(machine: Machine, delay_s: int) -> dict[str, Any]:
    port = free_port()
    machine.image(
        "first",
        {
            "api": {
                "executable": "/bin/guest",
                "arguments": ["http", str(port), str(delay_s)],
                "readiness": {"http": {"port": str(port), "path": "/health"}, "interval": 0.2},
            },
            "web": SLEEPER,
        },
    )
    entries = {
        "api": {"image": "first", "config": "/config/api.yaml"},
        "web": {"image": "first", "config": "/config/web.yaml", "after": ["api"]},
    }
    machine.processes(entries)
    return entries


@pytest.mark.case("lithos-51")
def test_an_entry_starts_after_the_one_it_waits_for_is_ready(machine: Machine) -> None:
    http_machine(machine, delay_s=3)
    with Watcher(machine) as watcher:
        machine.start()
        statuses = machine.wait_states(api_0="ready", web_0="ready")
    assert watcher.seen["shop/api.0"][-2:] == ["starting", "ready"]
    assert watcher.seen["shop/web.0"][0] == "waiting"
    assert statuses["shop/web.0"].since >= statuses["shop/api.0"].since
    assert "answered 503" not in str(statuses["shop/api.0"].error)


@pytest.mark.case("lithos-56")
def test_nothing_ready_is_seen_otherwise_over_restarts_and_crashes(machine: Machine) -> None:
    http_machine(machine, delay_s=0)
    machine.start()
    machine.wait_states(api_0="ready", web_0="ready")
    with Watcher(machine) as watcher:
        machine.signal(signal.SIGHUP)
        machine.restarted(2)
        machine.wait_states(api_0="ready", web_0="ready")
        machine.kill()
        machine.start()
        machine.restarted(3)
        wait_until(lambda: (status := machine.status()) and machine.master and status.master == machine.master.pid)
    assert watcher.seen == {"shop/api.0": ["ready"], "shop/web.0": ["ready"]}
    document = json.loads((machine.run_dir / "status.json").read_text())
    assert list(document) == ["version", "written", "boot_id", "master", "instances"]
    fields = ["name", "image", "config", "state", "since", "pid", "restarts", "ports", "address", "error"]
    assert all(list(one) == fields for one in document["instances"])
    shown = json.loads(machine.run("lithos_ps", "-C", machine.config, "--json").stdout)["trees"][0]
    assert shown["pid"] == document["master"]
    assert {one["name"]: (one["state"], one["main_pid"]) for one in shown["children"]} == {
        one["name"]: (one["state"], one["pid"]) for one in document["instances"]
    }


@pytest.mark.case("lithos-53")
def test_readiness_by_notification_and_its_deadline(machine: Machine) -> None:
    machine.image(
        "first",
        {
            "says": {
                "executable": "/bin/guest",
                "arguments": ["notify", "STATUS=up\nREADY=1"],
                "readiness": {"notify": "systemd"},
            },
            "silent": {**SLEEPER, "readiness": {"notify": "systemd", "deadline": 3}},
        },
    )
    machine.processes({name: {"image": "first", "config": f"/config/{name}.yaml"} for name in ("says", "silent")})
    machine.start()
    began = time.monotonic()
    machine.wait_states(says_0="ready", silent_0="starting")
    wait_until(lambda: machine.instances()["shop/silent.0"].restarts == 1, "the restart")
    assert 2.5 <= time.monotonic() - began <= 8
    assert machine.metric("processes.shop.silent", "failures") == 1
    assert "not ready within 3 s" in machine.log()
    assert machine.instances()["shop/says.0"].restarts == 0


def test_an_instance_that_is_starting_can_still_say_ready_after_a_restart_in_place(machine: Machine) -> None:
    script = "while [ ! -e /state/go ]; do busybox sleep 0.1; done; exec guest notify READY=1"
    config = shell(script, **WITH_PATH, readiness={"notify": "systemd"}, volumes="STATE")
    machine.image("first", {"web": json.dumps(config).replace('"STATE"', "{/state: !Statedir {}}")})
    (machine.images / "first/state").mkdir()
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="starting")
    pid = wait_until(lambda: machine.instances()["shop/web.0"].pid)
    machine.signal(signal.SIGHUP)
    machine.restarted(2)
    (machine.run_dir / "state/shop/web.0/go").touch()
    assert machine.wait_states(web_0="ready")["shop/web.0"].pid == pid


@pytest.mark.case("lithos-52")
def test_what_hangs_is_replaced(machine: Machine) -> None:
    port, other = free_port(), free_port()
    config = {
        "executable": "/bin/guest",
        "arguments": ["http", "@{port}", "0"],
        "variables": "VARIABLES",
        "readiness": {"tcp": "@{port}", "interval": 0.1},
        "health": {"tcp": "@{port}", "interval": 1, "failures": 2},
        "kill-timeout": 1,
    }
    machine.image("first", {"web": json.dumps(config).replace('"VARIABLES"', "{port: !TcpPort }")})
    machine.processes(
        {
            name: {"image": "first", "config": "/config/web.yaml", "variables": {"port": str(number)}}
            for name, number in (("hangs", port), ("works", other))
        }
    )
    machine.start()
    before = machine.wait_states(hangs_0="ready", works_0="ready")
    os.kill(machine.pid("shop/hangs.0"), signal.SIGSTOP)
    with Watcher(machine) as watcher:
        wait_until(lambda: machine.instances()["shop/hangs.0"].restarts == 1, "the replacement")
    after = machine.wait_states(hangs_0="ready", works_0="ready")
    assert watcher.seen["shop/hangs.0"][:2] == ["ready", "unhealthy"]
    assert after["shop/hangs.0"].pid != before["shop/hangs.0"].pid
    assert after["shop/works.0"].pid == before["shop/works.0"].pid
    assert machine.metric("processes.shop.hangs", "unhealthy") == 1
    assert machine.metric("processes.shop.hangs", "failures") == 1, machine.describe()
    assert machine.metric("processes.shop.works", "unhealthy") == 0


@pytest.mark.case("lithos-55")
def test_a_pre_stop_delay_is_published_before_the_term(machine: Machine) -> None:
    trap = "trap 'echo got TERM; exit 0' TERM; echo up; while :; do busybox sleep 0.05; done"
    machine.image("first", {"web": shell(trap, **WITH_PATH, **{"pre-stop-delay": 2})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="ready")
    wait_until(lambda: machine.said("up"))
    assert machine.switch({}).returncode == 0
    machine.wait_states(web_0="stopping")
    stopping_at = time.monotonic()
    assert machine.said("got TERM") == 0
    wait_until(lambda: machine.said("got TERM") == 1)
    assert 1.5 <= time.monotonic() - stopping_at <= 4
    wait_until(lambda: machine.states() == {})


def test_readiness_by_a_command_and_by_a_file(machine: Machine) -> None:
    script = "busybox sleep 1; busybox touch /tmp/up; exec busybox sleep 1000"
    probes = {
        "command": {"exec": ["/bin/busybox", "test", "-e", "/tmp/up"], "interval": 0.3},
        "file": {"file": "/tmp/up", "interval": 0.1},
    }
    for name, probe in probes.items():
        text = json.dumps(shell(script, **WITH_PATH, readiness=probe, volumes="TMP"))
        machine.image("first", {name: text.replace('"TMP"', "{/tmp: !Tmpfs }")})
    machine.processes({name: {"image": "first", "config": f"/config/{name}.yaml"} for name in probes})
    with Watcher(machine) as watcher:
        machine.start()
        machine.wait_states(command_0="ready", file_0="ready")
    assert all("starting" in states for states in watcher.seen.values())


def test_a_stop_ends_dependents_first(machine: Machine) -> None:
    trap = "trap 'echo $LITHOS_NAME ends; exit 0' TERM; echo up; while :; do busybox sleep 0.05; done"
    machine.image("first", {"web": shell(trap, **WITH_PATH)})
    entry = {"image": "first", "config": "/config/web.yaml"}
    machine.processes({"api": entry, "web": {**entry, "after": ["api"]}, "z": {**entry, "after": ["web"]}})
    machine.start()
    machine.wait_states(api_0="ready", web_0="ready", z_0="ready")
    wait_until(lambda: machine.said("up") == 3)
    assert machine.stop() == 0
    ends = [line for line in machine.output().splitlines() if line.endswith(" ends")]
    assert ends == ["shop/z.0 ends", "shop/web.0 ends", "shop/api.0 ends"]
