"""Real daemons on loopback addresses, with a fake cantal each and short timers."""

from __future__ import annotations

import contextlib
import json
import os
import random
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

from manor.kernel import process
from manor.verwalter.fake_cantal import fake_id

DEADLINE_S = 60.0  # generous: the machine may be busy with other tests
QUICK = """
election: {start-timeout: 600ms, message-timeout: [800ms, 1600ms], election-timeout: [250ms, 500ms], heartbeat: 200ms,
  sticky: 500ms, quorum-window: 700ms, quorum-lost: 2s, overslept: 1500ms, refresh: 300ms, hosts-fresh: 2s,
  unresponsive-after: 5s}
fetch: {prefetch-min: 2s, prefetch-max: 10s}
scheduler: {round-interval: 1s}
"""
SITE = """
schema: 1
node-suspect: 3s
node-dead: 6s
roles:
  site:
    template: site/v1
    daemons: {web: {instances: 3}}
"""


def until(holds: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Wait for a condition; what it returned is returned."""
    end = time.monotonic() + deadline_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or holds}"
        time.sleep(0.05)


def free_block(count: int) -> tuple[list[str], int]:
    """Addresses of 127.0.0.0/8 and one port that is free on all of them."""
    while True:
        block, port = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}", random.randint(20_000, 30_000)
        addresses = [f"{block}.{place}" for place in range(1, count + 1)]
        with contextlib.ExitStack() as stack:
            try:
                for address in addresses:
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        stack.enter_context(socket.socket(socket.AF_INET, kind)).bind((address, port))
            except OSError:
                continue
            return addresses, port


class Cluster:
    """Some daemons that know each other through files the test writes."""

    def __init__(self, directory: Path, names: Sequence[str], settings: str = QUICK, flags: Sequence[str] = ()) -> None:
        self.directory = directory
        self.names = list(names)
        addresses, self.port = free_block(len(names))
        self.address = dict(zip(names, addresses, strict=True))
        self.flags = list(flags)
        self.settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cantals: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            self.write(name, "scheduler/v1/roles.yaml", SITE)
            self.write(name, "runtime/site/v1.yaml", "daemons: {web: {image: site.1, config: /config/web.yaml}}\n")
            self.write(name, "templates/site/v1/site.txt.j2", "{{ daemons | length }} {{ deployment_id }}\n")
            target = self.directory / name / "rendered.txt"
            self.write(
                name,
                "templates/site/v1/site.render.yaml",
                f"templates: {{site: site.txt.j2}}\ncommands:\n- !Copy {{dest: {target}}}\n",
            )
            self.write(name, "verwalter.yaml", settings)

    def write(self, name: str, file: str, text: str) -> Path:
        path = self.directory / name / "etc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def states(self, name: str, states: dict[str, str]) -> None:
        """What this node's cantal says of others from now on."""
        path = self.directory / name / "states.json"
        path.with_suffix(".new").write_text(json.dumps(states))
        path.with_suffix(".new").rename(path)

    def id(self, name: str) -> str:
        return fake_id(1 + self.names.index(name))

    def start(self, *names: str, flags: Sequence[str] = ()) -> None:
        for name in names or self.names:
            if name not in self.cantals:
                self.start_cantal(name)
            own = self.directory / name
            options = {
                "--config-dir": own / "etc",
                "--storage-dir": own / "var",
                "--log-dir": own / "log",
                "--host": self.address[name],
                "--port": self.port,
                "--hostname": name,
                "--name": name,
                "--override-machine-id": self.id(name),
                "--cantal-url": f"http://{self.address[name]}:{self.port + 1}",
                "--key-file": self.directory / "cluster.key",
                "--tokens-file": self.directory / "tokens.yaml",
                "--log-level": "info",
            }
            words = [str(word) for pair in options.items() for word in pair]
            with (own / "daemon.txt").open("ab") as output:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "manor.verwalter.daemon", *words, *self.flags, *flags], stderr=output
                )

    def start_cantal(self, name: str) -> None:
        """On the next port of the same address."""
        peers = [f"{'self:' * (other == name)}{other}@{self.address[other]}" for other in self.names]
        code = (
            "import asyncio; from pathlib import Path; from manor.verwalter import fake_cantal as f\n"
            "async def main():\n"
            f"    await f.serve(f.parse_peers({peers!r}), host={self.address[name]!r}, port={self.port + 1},"
            f" state_file=Path({str(self.directory / name / 'states.json')!r}))\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        self.cantals[name] = subprocess.Popen([sys.executable, "-c", code])

    def stop_cantal(self, name: str) -> None:
        cantal = self.cantals.pop(name)
        cantal.kill()
        cantal.wait()

    def signal(self, name: str, number: int) -> None:
        os.kill(self.processes[name].pid, number)

    def kill(self, name: str) -> None:
        daemon = self.processes.pop(name)
        daemon.kill()
        daemon.wait()

    def worker_pid(self, name: str) -> int | None:
        """The process the scheduler runs in."""
        for pid in process.children(self.processes[name].pid):
            if b"worker.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def kill_pid(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def ask(self, name: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and document; status 0 where nobody answers."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            headers = {"Content-Type": "application/json", **headers}
        headers = {key: value for key, value in headers.items() if value}
        request = urllib.request.Request(
            f"http://{self.address[name]}:{self.port}/v1/{path}", data, {"Accept": "application/json", **headers}
        )
        try:
            with _NO_REDIRECT.open(request, timeout=20) as response:
                return response.status, _document(response.read())
        except urllib.error.HTTPError as error:
            return error.code, _document(error.read())
        except OSError:
            return 0, None

    def status(self, name: str) -> dict[str, Any]:
        return self.ask(name, "status")[1] or {}

    def leaders(self) -> list[str]:
        return [name for name in self.processes if (self.ask(name, "election")[1] or {}).get("is_leader")]

    def wait_leader(self, among: Sequence[str] = (), deadline_s: float = DEADLINE_S) -> str:
        """One leader whom all of them name."""

        def agreed() -> str | None:
            names = {(self.status(name).get("leader") or {}).get("hostname") for name in among or list(self.processes)}
            return names.pop() if len(names) == 1 and None not in names else None

        return str(until(agreed, "one leader", deadline_s))

    def wait_stable(self) -> str:
        """One schedule everywhere; its hash."""

        def equal() -> str | None:
            states = [self.status(name) for name in self.processes]
            ids = {state.get("schedule_id") for state in states}
            ok = all(state.get("schedule_status") == "ok" for state in states)
            return ids.pop() if len(ids) == 1 and ok else None

        return str(until(equal, "one schedule everywhere"))

    def log(self, name: str) -> str:
        return (self.directory / name / "daemon.txt").read_text()

    def close(self) -> None:
        for child in (*self.processes.values(), *self.cantals.values()):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


_NO_REDIRECT = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()


@contextlib.contextmanager
def running_cluster(directory: Path, *names: str, **options: Any) -> Iterator[Cluster]:
    cluster = Cluster(directory, names, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        for name in names:
            print(f"--- {name}\n{cluster.log(name)[-3000:]}")
