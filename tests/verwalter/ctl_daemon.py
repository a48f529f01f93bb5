"""A daemon that answers what a test told it to: for the tests of verwalter-ctl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    document: Any


@dataclass
class ToldDaemon:
    """Path below /v1 -> document, or (status, document), or bytes."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def posted(self) -> list[tuple[str, Any]]:
        return [(one.path, one.document) for one in self.asked if one.method == "POST"]


@contextmanager
def told_daemon(**answers: Any) -> Iterator[ToldDaemon]:
    told = ToldDaemon(dict(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, document: Any) -> None:
            path = self.path.removeprefix("/v1/")
            told.asked.append(Asked(self.command, path, dict(self.headers.items()), document))
            answer = told.answers.get(path, (404, {"error": "no such thing", "code": "not-found"}))
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def status(*, is_leader: bool = True, leader: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A `GET /v1/status` with everything verwalter-ctl looks at."""
    state = "Leader" if is_leader else "Follower"
    return {
        "version": "v1.0.0", "id": "7798", "name": "alpha.example.org", "hostname": "alpha", "cluster": "default",
        "dc": "local", "peers": 2, "leader": leader, "roles": 3, "failed_roles": [], "orphaned_roles": [],
        "errors": {}, "last_stable_timestamp": None, "schedule_id": "6f0c" * 16, "schedule_status": "ok",
        "fetch_state": {"state": "StableLeader"}, "scheduler": {"rounds": 0},
        "election_state": {"is_leader": is_leader, "state": state, "epoch": 12},
    } | more  # fmt: skip
