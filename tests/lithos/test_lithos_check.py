"""What lithos_check and lithos_switch say of wrong files, and what a master does with them."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from lithos_machine import SLEEPER, Machine, wait_until

PLACE = re.compile(r"^\S+:\d+:\d+: (Parse|Validation|Decode) Error: ")
WEB: dict[str, Any] = {"image": "first", "config": "/config/web.yaml"}


def own_lines(text: str) -> list[str]:
    """What is an error, without what depends on the machine the tests run on."""
    return [line for line in text.splitlines() if not line.startswith("warning:")]


def with_variables(**values: str) -> dict[str, Any]:
    return {"web": {**WEB, "variables": values}}


@pytest.mark.case("lithos-36")
def test_variables_need_values_that_are_allowed(machine: Machine) -> None:
    machine.image("first", {"web": "{executable: /bin/busybox, variables: {port: !TcpPort }}"})
    for entries, expected in (
        (with_variables(), "variable `port` has no value"),
        (with_variables(port="80"), "port 80 is not in the sandbox's `allow-tcp-ports`: 1024-65535"),
        (with_variables(port="http"), "`http` is not a port"),
    ):
        machine.processes(entries)
        checked = machine.check()
        assert checked.returncode == 1
        (line,) = own_lines(checked.stderr)
        assert PLACE.match(line) and line.startswith(str(machine.root / "processes/shop.yaml")) and expected in line
    machine.processes(with_variables(port="8080", other="x"))
    assert machine.check().returncode == 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({**WEB, "image": "../first"}, "has an empty, `.` or `..` component"),
        ({**WEB, "image": "a/b"}, "has 2 components; `image-dir-levels` of the sandbox asks for 1"),
        ({**WEB, "image": "missing"}, "image `missing` does not exist"),
        ({**WEB, "config": "/config/../../../etc/passwd"}, "cannot read this file of the image"),
        ({**WEB, "config": "/config/link.yaml"}, "cannot read this file of the image"),
        ({**WEB, "config": "config/web.yaml"}, "is relative"),
        ({**WEB, "kind": "Service"}, "unknown value"),
    ],
)
def test_bad_entries_are_one_clear_line_and_change_nothing(
    machine: Machine, entry: dict[str, Any], expected: str
) -> None:
    image = machine.image("first", {"web": SLEEPER})
    outside = machine.root / "outside.yaml"
    outside.write_text(json.dumps(SLEEPER))
    (image / "config/link.yaml").symlink_to(outside)
    installed = machine.processes({"web": WEB})
    before = installed.read_bytes()
    refused = machine.switch({"web": entry})
    assert refused.returncode == 1
    line, last = own_lines(refused.stderr)
    assert PLACE.match(line) and expected in line
    assert last == "lithos_switch: refused, nothing was changed"
    assert installed.read_bytes() == before
    assert not list(installed.parent.glob(".tmp.*"))


@pytest.mark.case("lithos-49")
def test_a_container_config_by_itself(tmp_path: Path, machine: Machine) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("_note: x\nexecutable: /bin/x\nuser_id: 1\n")
    assert machine.run("lithos_check", "--check-container", good).returncode == 0
    good.write_text("_note: x\nexecutable: /bin/x\nuser-id: 1\n")
    assert machine.run("lithos_check", "--check-container", good).returncode == 0
    for text, expected in (
        ("executable: !*Include x\n", "!*Include"),
        ("executable: /bin/x\nexecutables: y\n", "unknown keys: executables"),
    ):
        bad = tmp_path / "bad.yaml"
        bad.write_text(text)
        checked = machine.run("lithos_check", "--check-container", bad)
        assert checked.returncode == 1
        assert expected in checked.stderr and PLACE.match(checked.stderr)


@pytest.mark.case("lithos-54")
def test_probes_that_prove_nothing_and_orders_that_never_begin(machine: Machine) -> None:
    base = "executable: /bin/busybox\n"
    machine.image(
        "first",
        {
            "held": base + "tcp-ports: {8080: {fd: 3}}\nreadiness: {tcp: 8080}\n",
            "two": base + "readiness: {tcp: 8080, notify: systemd}\n",
            "far": base + "readiness: {http: {port: 65536}}\n",
            "web": base,
        },
    )
    entries = {name: {**WEB, "config": f"/config/{name}.yaml"} for name in ("held", "two", "far")}
    entries["a"], entries["b"] = {**WEB, "after": ["b"]}, {**WEB, "after": ["a"]}
    machine.processes(entries)
    checked = machine.check()
    assert checked.returncode == 1
    lines = own_lines(checked.stderr)
    assert len(lines) == 4 and all(PLACE.match(line) for line in lines)
    for expected in (
        "port 8080 is a socket held by lithos",
        "a probe has exactly one of tcp, http, exec, notify, file; found `tcp` and `notify`",
        "port 65536 does not exist",
        "`after` goes in a circle: shop/a after shop/b after shop/a",
    ):
        assert any(expected in line for line in lines), (expected, lines)


def test_what_is_not_there_yet_says_so_with_its_place(machine: Machine) -> None:
    machine.image("first", {"web": "executable: /bin/busybox\nsecret-environ: {A: v2:x}\nrestart-process-only: true\n"})
    machine.processes({"web": WEB})
    lines = own_lines(machine.check().stderr)
    assert "web.yaml:2:1: Validation Error: `secret-environ` is not supported yet" in lines[0]
    machine.sandbox("shop", **{"bridged-network": {"bridge": "br0", "network": "10.0.0.0/24"}})
    (line,) = own_lines(machine.check().stderr)
    assert "shop.yaml:1:" in line and "`bridged-network` is not supported yet" in line


@pytest.mark.case("lithos-57")
def test_a_broken_neighbour_does_not_block_a_switch(machine: Machine) -> None:
    machine.image("first", {"web": SLEEPER})
    machine.sandbox("other")
    machine.processes({"x": {**WEB, "image": "missing"}}, sandbox="other")
    switched = machine.switch({"web": WEB})
    assert switched.returncode == 0
    assert sum("image `missing` does not exist" in line for line in switched.stderr.splitlines()) == 1
    (machine.root / "sandboxes/other.yaml").write_text("allow-users: [")
    switched = machine.switch({"web": {**WEB, "instances": 2}})
    assert switched.returncode == 0
    warnings = [line for line in switched.stderr.splitlines() if "other.yaml" in line]
    assert len(warnings) == 1 and warnings[0].startswith("warning: ")
    assert json.loads((machine.root / "processes/shop.yaml").read_text())["web"]["instances"] == 2


@pytest.mark.case("lithos-37")
def test_a_processes_file_that_is_none_stops_nothing(machine: Machine) -> None:
    machine.image("first", {"web": {**SLEEPER, "restart-timeout": 0}})
    installed = machine.processes({"web": WEB})
    machine.start()
    before = machine.wait_states(web_0="ready")["shop/web.0"].pid
    content = installed.read_bytes()
    bad = machine.new_processes("web: {image: first\n\tconfig: x")
    assert machine.check("--alternate-config", bad, "--sandbox", "shop").returncode == 1
    assert machine.switch("web: {image: first\n\tconfig: x").returncode == 1
    assert installed.read_bytes() == content
    installed.write_text("web: [")
    machine.signal(signal.SIGHUP)
    machine.restarted(2)
    assert machine.wait_states(web_0="ready")["shop/web.0"].pid == before
    assert re.search(r"shop\.yaml:\d+:\d+: Parse Error", machine.log())
    os.kill(machine.pid("shop/web.0"), signal.SIGKILL)
    wait_until(lambda: machine.instances()["shop/web.0"].pid not in (None, before), "a start from the record")


@pytest.mark.case("lithos-38")
def test_a_broken_image_or_master_config_leaves_everything_running(machine: Machine) -> None:
    machine.image("first", {"web": SLEEPER})
    machine.image("second", {"web": "executable: relative\n"})
    machine.processes({"web": WEB})
    master = machine.start()
    before = machine.wait_states(web_0="ready")["shop/web.0"].pid
    machine.processes({"web": {**WEB, "image": "second"}})
    machine.signal(signal.SIGHUP)
    machine.restarted(2)
    status = machine.wait_states(web_0="ready")["shop/web.0"]
    assert (status.pid, status.image) == (before, "first")
    assert "/config/web.yaml:1:13: Validation Error" in machine.log()
    text = machine.config.read_text()
    machine.config.write_text("nonsense: 1")
    machine.signal(signal.SIGHUP)
    wait_until(lambda: "Restart refused" in machine.log(), "the refusal")
    assert master.poll() is None
    machine.config.write_text(text)
    machine.image("third", {"web": SLEEPER})
    assert machine.switch({"web": {**WEB, "image": "third"}}).returncode == 0
    wait_until(lambda: machine.instances()["shop/web.0"].image == "third", "supervision still works")


@pytest.mark.case("lithos-39")
def test_a_reader_sees_one_complete_version(machine: Machine) -> None:
    """A thousand rounds of the very function that the command installs with, and of the command some."""
    from manor.lithos.commands import switch

    machine.image("first", {"web": SLEEPER})
    installed = machine.processes({"web": WEB})
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(installed.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    expected = {installed.read_bytes()}
    try:
        for number in range(1000):
            text = json.dumps({"web": {**WEB, "instances": number % 7}} | {f"x{i}": WEB for i in range(40)})
            expected.add(text.encode())
            if number % 100:
                switch.install(text.encode(), installed, "shop")
            else:
                assert machine.switch(text).returncode == 0
    finally:
        stop.set()
        reader.join()
    assert seen <= expected


def test_a_missing_master_config_and_an_unknown_sandbox(machine: Machine) -> None:
    for program, words in (
        ("lithos_tree", ("-C", "/nowhere/master.yaml")),
        ("lithos_check", ("-C", "/nowhere/master.yaml")),
        ("lithos_switch", ("--master", "/nowhere/master.yaml", "shop", "/dev/null")),
        ("lithos_cmd", ("--master", "/nowhere/master.yaml", "shop", "x")),
    ):
        refused = machine.run(program, *words)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Fatal error: /nowhere/master.yaml:1:1: Decode Error: "), refused.stderr
    refused = machine.switch({}, sandbox="nobody")
    assert refused.returncode == 1 and "there is no sandbox `nobody`" in refused.stderr
    assert machine.run("lithos_check", "--alternate-config", "/dev/null").returncode == 1
    assert machine.run("lithos_check", "--nonsense").returncode == 2


def test_a_missing_runtime_has_its_own_status(machine: Machine) -> None:
    machine.write_master(**{"oci-runtime": "/nowhere/runc"})
    assert machine.run("lithos_tree", "-C", machine.config).returncode == 127
    checked = machine.check()
    assert checked.returncode == 1 and "/nowhere/runc" in checked.stderr
