"""Listening sockets: shared, handed over, kept through upgrades and crashes, closed when nobody serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from lithos_machine import Machine, free_port, shell, wait_until


def server(port: int, fd: int = 3, **options: Any) -> dict[str, Any]:
    return {
        "executable": "/bin/guest",
        "arguments": ["serve", str(fd)],
        "tcp-ports": {str(port): {"fd": fd}},
        **options,
    }


def ask(port: int) -> str:
    """What one connection is answered; raises OSError when refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile().readline().strip()


def answering(port: int, count: int = 20) -> set[str]:
    """The instances that answer that many connections made at once."""
    connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]
    answers = {connection.makefile().readline().split()[0] for connection in connections[:2]}
    for connection in connections:
        connection.close()
    return answers


class Client:
    """Asks without pause until stopped, and keeps what went wrong."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = ask(self.port)
                self.answers += 1
                if not answer:
                    self.errors.append("empty answer")
            except OSError as error:
                self.errors.append(str(error))

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.case("lithos-13")
def test_two_instances_share_one_socket(machine: Machine) -> None:
    machine.sandbox("shop", **{"allow-tcp-ports": ["77"]})
    machine.image("first", {"web": server(77, **{"user-id": 1})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml", "instances": 2}})
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")
    assert answering(77) == {"shop/web.0", "shop/web.1"}
    assert machine.instances()["shop/web.0"].ports == {"77": 3}


@pytest.mark.case("lithos-14")
def test_a_gap_between_descriptors_stays_a_gap(machine: Machine) -> None:
    one, two = free_port(), free_port()
    config = shell("ls /proc/self/fd; exec busybox sleep 1000", environ={"PATH": "/bin"})
    config["tcp-ports"] = {str(one): {"fd": 3}, str(two): {"fd": 9}}
    machine.image("first", {"web": config})
    (machine.images / "first/bin/ls").symlink_to("busybox")
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    pid = machine.wait_states(web_0="ready")["shop/web.0"].pid
    assert sorted(os.listdir(f"/proc/{pid}/fd"), key=int) == ["0", "1", "2", "3", "9"]


@pytest.mark.case("lithos-15")
def test_descriptor_0_can_be_a_port_and_1_cannot(machine: Machine) -> None:
    port = free_port()
    machine.image("first", {"web": server(port, fd=0), "bad": server(port, fd=1)})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="ready")
    assert ask(port).startswith("shop/web.0 ")
    machine.processes({"web": {"image": "first", "config": "/config/bad.yaml"}})
    refused = machine.check()
    assert refused.returncode == 1
    assert "fd 1 is standard output or error" in refused.stderr


@pytest.mark.parametrize("runtime", ["runc"])  # crun refuses hybrid cgroups; where it works, `auto` tests it
@pytest.mark.case("lithos-16")
def test_systemd_activation_hands_over_ports_in_order_of_names(machine: Machine, runtime: str) -> None:
    machine.write_master(**{"oci-runtime": runtime})
    port_a, port_b = free_port(), free_port()
    config = {
        "executable": "/bin/busybox",
        "arguments": ["sh", "-c", 'echo "$LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID = $$"; exec /bin/guest serve 3'],
        "variables": "VARIABLES",
    }
    text = json.dumps(config).replace(
        '"VARIABLES"', "{b: !TcpPort {activation: systemd}, a: !TcpPort {activation: systemd}}"
    )
    machine.image("first", {"web": text})
    variables = {"a": str(port_a), "b": str(port_b)}
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml", "variables": variables}})
    machine.start()
    machine.wait_states(web_0="ready")
    assert ask(port_a).startswith("shop/web.0")
    line = next(line for line in machine.output().splitlines() if line.startswith("2 "))
    fds, names, listen_pid, _, own_pid = line.split()
    assert (fds, names) == ("2", "a:b")
    assert listen_pid == own_pid


@pytest.mark.case("lithos-18")
def test_a_service_that_only_waits_to_be_restarted_refuses(machine: Machine) -> None:
    port = free_port()
    machine.image("first", {"web": server(port, **{"restart-timeout": 60})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="ready")
    ask(port)
    os.kill(machine.pid("shop/web.0"), signal.SIGKILL)
    machine.wait_states(web_0="waiting")
    wait_until(lambda: "Closed the socket" in machine.log())
    with pytest.raises(ConnectionRefusedError):
        ask(port)


@pytest.mark.case("lithos-19")
def test_an_upgrade_refuses_no_connection(machine: Machine) -> None:
    port = free_port()
    for image in ("first", "second"):
        machine.image(image, {"web": server(port)})
    entry = {"image": "first", "config": "/config/web.yaml", "instances": 2}
    machine.processes({"web": entry})
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")
    with Client(port) as client:
        assert machine.switch({"web": {**entry, "image": "second"}}).returncode == 0
        wait_until(lambda: {one.image for one in machine.instances().values()} == {"second"})
        machine.wait_states(web_0="ready", web_1="ready")
        answered = client.answers
        wait_until(lambda: client.answers > answered + 10)
    assert client.errors == []


def test_two_entries_share_a_port_while_one_takes_over_from_the_other(machine: Machine) -> None:
    """How a rolling upgrade looks from here: DAEMON-a goes while DAEMON-b comes, at the same address."""
    port = free_port()
    machine.image("first", {"web": server(port)})
    entry = {"image": "first", "config": "/config/web.yaml", "instances": 2}
    machine.processes({"web-a": entry})
    machine.start()
    machine.wait_states(**{"web-a_0": "ready", "web-a_1": "ready"})
    with Client(port) as client:
        assert machine.switch({"web-a": {**entry, "instances": 1}, "web-b": {**entry, "instances": 1}}).returncode == 0
        machine.wait_states(**{"web-a_0": "ready", "web-b_0": "ready"})
        assert machine.switch({"web-b": entry}).returncode == 0
        machine.wait_states(**{"web-b_0": "ready", "web-b_1": "ready"})
        assert machine.switch({"web-b": {**entry, "instances": 1}}).returncode == 0
        machine.wait_states(**{"web-b_0": "ready"})
    assert client.errors == []
    assert client.answers > 0


@pytest.mark.case("lithos-08")
def test_connections_are_accepted_while_the_master_is_dead_and_after(machine: Machine) -> None:
    port = free_port()
    machine.image("first", {"web": server(port, **{"restart-timeout": 0})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml", "instances": 2}})
    machine.start()
    before = machine.wait_states(web_0="ready", web_1="ready")
    with Client(port) as client:
        machine.kill()
        machine.start()
        machine.restarted(2)
        after = machine.wait_states(web_0="ready", web_1="ready")
        assert [one.pid for one in after.values()] == [one.pid for one in before.values()]
        assert "Recovered the socket" in machine.log()
    assert client.errors == []
    os.kill(machine.pid("shop/web.0"), signal.SIGKILL)
    wait_until(lambda: machine.instances()["shop/web.0"].restarts == 1, "the restart")
    machine.wait_states(web_0="ready", web_1="ready")
    assert answering(port) == {"shop/web.0", "shop/web.1"}
    inodes = {os.stat(f"/proc/{machine.pid(name)}/fd/3").st_ino for name in ("shop/web.0", "shop/web.1")}
    assert len(inodes) == 1


@pytest.mark.case("lithos-09")
def test_adopted_listeners_vanish_with_their_entry(machine: Machine) -> None:
    port = free_port()
    machine.image("first", {"web": server(port)})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml", "instances": 2}})
    machine.start()
    machine.wait_states(web_0="ready", web_1="ready")
    machine.kill()
    machine.start()
    machine.restarted(2)
    pids = [machine.pid(f"shop/web.{i}") for i in (0, 1)]
    machine.processes({})
    machine.signal(signal.SIGHUP)
    wait_until(lambda: machine.status() is not None and machine.states() == {}, "the end")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def test_a_port_taken_by_a_stranger_is_tried_again(machine: Machine) -> None:
    stranger = socket.create_server(("0.0.0.0", 0))
    port = stranger.getsockname()[1]
    machine.image("first", {"web": server(port, **{"restart-timeout": 0.2})})
    machine.processes({"web": {"image": "first", "config": "/config/web.yaml"}})
    machine.start()
    machine.wait_states(web_0="waiting")
    wait_until(lambda: (machine.metric("containers", "failures") or 0) >= 2, "failed starts")
    assert "cannot listen at 0.0.0.0" in str(machine.instances()["shop/web.0"].error)
    stranger.close()
    machine.wait_states(web_0="ready")
    assert ask(port).startswith("shop/web.0")
