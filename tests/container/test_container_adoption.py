"""A supervisor is killed; another one finds its container by pidfd, with its socket, and sees how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from real_containers import Containers, wait_for

from manor.container import bundle
from manor.container.runtime import closed_pipe
from manor.kernel import pidfds, process

SUPERVISOR = """
import os, signal, socket, sys
from pathlib import Path
from manor.container.choice import RuntimeBinary
from manor.container.runtime import Runtime
from manor.kernel import process

path, flavour, version, directory = sys.argv[1:]
place = Path(directory)
process.set_child_subreaper()
listening = socket.create_server(("127.0.0.1", 0))
runtime = Runtime(RuntimeBinary(Path(path), flavour, version), place / "oci")
out = os.open(place / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pid = runtime.run_detached(
    "box", place / "box", pid_file=place / "pid", log=place / "log",
    fds={3: listening.fileno()}, stdin=0, stdout=out, stderr=out,
)
assert pid in process.children()
print(pid, process.start_time(pid), listening.getsockname()[1], flush=True)
signal.pause()
"""

SERVICE = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
listening = socket.socket(fileno=3)
while True:
    connection, _ = listening.accept()
    connection.sendall(b"served")
    connection.close()
"""


def test_a_second_supervisor_takes_over_a_container_its_socket_and_its_exit_status(containers: Containers) -> None:
    place = containers.directory
    bundle.write_bundle(place / "box", containers.config(["/usr/bin/python3", "-c", SERVICE]))
    binary = containers.runtime.binary
    empty = closed_pipe()
    first = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, binary.path, binary.flavour, binary.version, place],
        stdin=empty,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(empty)
    assert first.stdout is not None
    pid, started, port = map(int, first.stdout.readline().split())
    try:
        assert ask(port) == b"served"

        first.kill()
        assert first.wait() == -signal.SIGKILL
        assert ask(port) == b"served"  # the container goes on

        adopted = pidfds.open_pidfd(pid)
        assert process.start_time(pid) == started
        state = containers.runtime.state("box")
        assert state is not None and (state.status, state.pid) == ("running", pid)

        wait_for(lambda: len(process.children(pid)) == 1)
        main = pidfds.open_pidfd(process.children(pid)[0])
        with socket.socket(fileno=pidfds.get_fd(main, 3)) as recovered:
            assert recovered.getsockname() == ("127.0.0.1", port)
            assert recovered.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert not os.get_inheritable(recovered.fileno())

            pidfds.send_signal(adopted, signal.SIGTERM)
            assert pidfds.wait_readable(adopted, 30)
            status = pidfds.collect(adopted)
            assert status is not None and os.waitstatus_to_exitcode(status) == 42

            with socket.create_connection(("127.0.0.1", port), timeout=30):
                pass  # the queue of the recovered socket still takes connections
        os.close(main)
        os.close(adopted)
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
        containers.runtime.delete("box")


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return connection.recv(100)


def test_the_status_of_a_container_that_ended_before_we_looked_is_told_once_it_is_ours(containers: Containers) -> None:
    """A main process that is gone at once: init may end while it is still the runtime's child."""
    codes = [containers.start(["/bin/sh", "-c", f"exit {code}"]) for code in (0, 3, 77)]
    assert [running.ended() for running in codes] == [0, 3, 77]
