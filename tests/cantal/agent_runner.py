"""Real agents for tests: started on free ports with their own identity, asked over HTTP, always taken down."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from manor.kernel.namespaces import in_network_namespace

AGENT = str(Path(sys.executable).with_name("cantal-agent"))
DEADLINE_S = 30.0


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for TCP and UDP."""
    for _ in range(50):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port = int(tcp.getsockname()[1])
            with contextlib.suppress(OSError):
                udp.bind((host, port))
                return port
    raise AssertionError("no free port")


def wait_until(condition: Callable[[], Any], within: float = DEADLINE_S, what: str = "") -> Any:
    """The first true value of the condition."""
    until = time.monotonic() + within
    while True:
        try:
            found = condition()
        except (OSError, ConnectionError):
            found = None
        if found:
            return found
        assert time.monotonic() < until, f"not within {within} s: {what or condition}"
        time.sleep(0.05)


class Agent:
    """One cantal-agent process."""

    def __init__(
        self,
        directory: Path,
        number: int,
        *flags: str,
        host: str = "127.0.0.1",
        port: int | None = None,
        namespace: str | None = None,
        flags_of_tests: bool = True,
    ) -> None:
        """`namespace`: path of the network namespace it runs in and is asked in."""
        self.host = host
        self.port = port or free_port(host)
        self.id = f"{number:032x}"
        self.directory = directory
        self.log = directory / f"agent-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._namespace = namespace
        (directory / "config").mkdir(exist_ok=True)
        self._command = [*(("nsenter", f"--net={namespace}") if namespace else ()), AGENT, *flags]
        if not flags_of_tests:
            return
        self._command += [
            "--host",
            host,
            "--port",
            str(self.port),
            "--override-machine-id",
            self.id,
            "--node-name",
            f"node-{number}",
            "--config-dir",
            str(directory / "config"),
            "--interval",
            "200",
        ]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> Agent:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self.answers, what=f"agent {self.id} answers; its log: {self.log}")
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the agent ended: {self.log.read_text()}"
        return self.get("/status.json") is not None

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def raw(self, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 15) -> bytes:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data=data, headers=headers or {})

        def ask() -> bytes:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return bytes(answer.read())

        return ask() if self._namespace is None else in_network_namespace(self._namespace, ask)

    def post(self, path: str, body: Any) -> Any:
        return json.loads(self.raw(path, body))

    def refusal(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """The status and document of a POST that must fail."""
        try:
            answer = self.raw(path, body)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        raise AssertionError(f"accepted: {answer!r}")

    def peers(self) -> dict[str, dict[str, Any]]:
        return {peer["id"]: peer for peer in self.get("/all_peers.json")["peers"]}

    def state_of(self, other: Agent) -> str | None:
        peer = self.peers().get(other.id)
        return peer["state"] if peer is not None else None

    def sees_alive(self, others: Sequence[Agent]) -> bool:
        peers = self.peers()
        return all(other is self or peers.get(other.id, {}).get("state") == "alive" for other in others)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Without warning."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> int:
        """Cleanly; its exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(10)


@contextlib.contextmanager
def own_network_namespace() -> Iterator[str]:
    """The path of a network namespace with nothing but a loopback interface."""
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        try:
            yield f"/proc/{holder.pid}/ns/net"
        finally:
            holder.kill()


@contextlib.contextmanager
def running(*agents: Agent) -> Iterator[list[Agent]]:
    """Start them, and leave none behind."""
    try:
        yield [agent.start() for agent in agents]
    finally:
        for agent in agents:
            if agent.process is not None and agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait()


def introduce(agents: Sequence[Agent]) -> None:
    """One add_host call each to the first."""
    for agent in agents[1:]:
        agent.post("/add_host.json", {"addr": agents[0].address})
