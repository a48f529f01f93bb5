"""lithos_cmd: arguments, statuses, streams, terminals, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

import pytest
from lithos_machine import BIN, PATIENCE_S, SLEEPER, Machine, shell, wait_until

PATH = {"PATH": "/bin"}
TERMINAL_SCRIPT = """
busybox tty; busybox stty size
read word; echo got $word
while [ "$(busybox stty size)" != "20 50" ]; do busybox sleep 0.05; done
busybox stty size
"""


def commands(machine: Machine, **configs: dict[str, Any]) -> None:
    machine.image("first", {name: {"kind": "Command", **config} for name, config in configs.items()})
    machine.processes(
        {name: {"kind": "Command", "image": "first", "config": f"/config/{name}.yaml"} for name in configs}
    )


@pytest.mark.case("lithos-43")
def test_arguments_go_in_and_statuses_come_out(machine: Machine) -> None:
    script = 'echo "$0 $1 $2"; exit 7'
    commands(
        machine,
        seven=shell(script, environ=PATH, arguments=["sh", "-c", script, "mine"]),
        killed=shell("kill -TERM $$"),
        fine=shell("exit 7", **{"normal-exit-codes": [7]}),
    )
    machine.start()
    seven = machine.command("seven", "a", "--b")
    assert seven.returncode == 7, (seven.stderr, machine.describe())
    assert "mine a --b" in machine.output().splitlines()
    assert machine.command("killed").returncode == 143
    assert machine.command("fine").returncode == 0
    assert machine.groups() == []
    for name in ("containers", "bundles", "state", "oci"):
        assert not list((machine.run_dir / name).iterdir())


def test_what_cannot_be_run(machine: Machine) -> None:
    machine.image("first", {"web": SLEEPER})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    assert "is a Daemon" in machine.command("web").stderr
    unknown = machine.command("nothing")
    assert unknown.returncode == 1 and "has no entry `nothing`" in unknown.stderr


def test_streams_go_through(machine: Machine) -> None:
    commands(machine, cat=shell("cat; echo to stderr >&2", environ=PATH, interactive=True))
    (machine.images / "first/bin/cat").symlink_to("busybox")
    ran = machine.command("cat", input="hi\n")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("hi\n", "to stderr\n", 0)


@pytest.mark.case("lithos-44")
def test_a_pipe_and_a_terminal(machine: Machine) -> None:
    commands(
        machine,
        cat={**SLEEPER, "arguments": ["cat"], "interactive": True},
        tty=shell(TERMINAL_SCRIPT, environ=PATH, interactive=True),
    )
    assert machine.command("cat", input="hi\n").stdout == "hi\n"
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(follower)
    command = [BIN / "lithos_cmd", "--master", machine.config, "shop", "tty"]
    running = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    said = b""
    readable = select.poll()
    readable.register(leader, select.POLLIN)

    def read_until(word: bytes) -> None:
        nonlocal said
        while word not in said:
            assert readable.poll(PATIENCE_S * 1000), (word, said)
            said += os.read(leader, 4096)

    read_until(b"33 77")
    assert b"/dev/" in said
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
    running.send_signal(signal.SIGWINCH)
    os.write(leader, b"word\r")
    read_until(b"got word")
    read_until(b"20 50")
    assert running.wait(30) == 0
    assert termios.tcgetattr(follower) == before
    os.close(leader)
    os.close(follower)


def test_a_signal_is_passed_on_and_the_kill_timeout_runs(machine: Machine) -> None:
    trap = "trap 'echo got TERM' TERM; echo up; while :; do busybox sleep 0.05; done"
    commands(machine, stubborn=shell(trap, environ=PATH, **{"kill-timeout": 1}))
    running = subprocess.Popen([BIN / "lithos_cmd", "--master", machine.config, "shop", "stubborn"])
    wait_until(lambda: machine.said("up"))
    began = time.monotonic()
    running.terminate()
    assert running.wait(30) == 137
    assert time.monotonic() - began >= 1
    assert machine.said("got TERM") == 1


def test_a_master_leaves_the_commands_of_others_alone(machine: Machine) -> None:
    commands(machine, long=SLEEPER)
    running = subprocess.Popen([BIN / "lithos_cmd", "--master", machine.config, "shop", "long"])
    wait_until(lambda: machine.groups())
    machine.start()
    machine.restarted(1)
    assert machine.stop() == 0
    assert running.poll() is None
    running.terminate()
    assert running.wait(30) == 143
    assert machine.groups() == []
