"""Asking a daemon over HTTP: one request, one answer, errors as types."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from manor.verwalter.ctl.errors import BadUsage, CtlFailed, NoConnection, NoLeader, NotAuthorised, NotFound, TimedOut

CONNECT_WITHIN_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
LEADER_POLL_S: Final = 0.5
MOVES_MAX: Final = 3  # how often the leadership may move on while one action is being pushed


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def document(self) -> Any:
        """Plain data; None for an empty body. Raises CtlFailed."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError as error:
            raise CtlFailed(f"the answer is no JSON: {error}; is this a verwalter?") from error


@dataclass(frozen=True, slots=True)
class Client:
    """One daemon."""

    url: str
    token: str | None
    ca: Path | None
    timeout_s: float

    def get(self, path: str) -> Any:
        """The document below /v1. Raises CtlFailed and its kind, for every status but 200."""
        return self._checked("GET", path, self.ask("GET", path)).document

    def text(self, path: str, headers: Mapping[str, str] | None = None) -> str:
        """A text below /v1; also a part of it, if the headers ask for one."""
        answer = self.ask("GET", path, headers=headers)
        return "" if answer.status == 416 else self._checked("GET", path, answer).body.decode(errors="replace")

    def post(self, path: str, document: Any) -> Any:
        """The answer's document, None for a 204. Where only the leader may, and it is another one by now, that one is
        asked."""
        client = self
        for _ in range(MOVES_MAX):
            answer = client.ask("POST", path, document)
            moved_to = _moved_to(answer)
            if moved_to is None:
                break
            client = client.at(moved_to)
        return client._checked("POST", path, answer).document

    def at(self, address: str) -> Client:
        """Another node, by `IP:PORT`."""
        return replace(self, url=f"{urlsplit(self.url).scheme}://{address}")

    def leader(self) -> Client:
        """The leader as this node knows it; waits for one. Raises NoLeader."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            status = self.get("status")
            if status["election_state"]["is_leader"]:
                return self
            if status["leader"] and status["leader"]["addr"]:
                return self.at(status["leader"]["addr"])
            if time.monotonic() + LEADER_POLL_S > deadline:
                raise NoLeader(f"no leader within {self.timeout_s:g} s, says {self.url}")
            time.sleep(LEADER_POLL_S)

    def ask(self, method: str, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Any answer, whatever its status. Raises NoConnection, TimedOut."""
        sent = {"Accept": "application/json", **(headers or {})}
        body = None if method == "GET" else json.dumps({} if document is None else document).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = self._connect()
        try:
            connection.request(method, f"/v1/{path}", body, sent)
            response = connection.getresponse()
            content = response.read(ANSWER_BYTES_MAX + 1)
            if len(content) > ANSWER_BYTES_MAX:
                raise CtlFailed(f"{self.url}/v1/{path}: more than {ANSWER_BYTES_MAX >> 20} MiB")
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        except TimeoutError as error:
            raise TimedOut(f"{self.url}/v1/{path}: no answer within {self.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise NoConnection(f"{self.url}: {_reason(error)}") from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection()
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise NoConnection(f"{self.url}: {_reason(error)}") from error
        connection.sock.settimeout(self.timeout_s)
        return connection

    def _connection(self) -> http.client.HTTPConnection:
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadUsage(f"`{self.url}`: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
            raise BadUsage(f"`{self.url}` is no address of a node; `http://HOST:8379` would be right")
        within_s = min(CONNECT_WITHIN_S, self.timeout_s)
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port or 8379, timeout=within_s)
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise BadUsage(f"{self.ca}: {_reason(error)}") from error
        return http.client.HTTPSConnection(host, port or 8379, timeout=within_s, context=context)

    def _checked(self, method: str, path: str, answer: Answer) -> Answer:
        if answer.status in (200, 204, 206):
            return answer
        where = f"{self.url}/v1/{path}"
        problem = _problem(answer)
        text = f"{where}: {problem.get('error') or f'{method} was answered with HTTP status {answer.status}'}"
        if answer.status in (401, 403):
            raise NotAuthorised(text)
        if answer.status == 404:
            raise NotFound(text)
        if problem.get("code") == "not-leader":
            raise NoLeader(text)
        if answer.status == 504:
            raise TimedOut(text)
        raise CtlFailed(text)


def _problem(answer: Answer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _moved_to(answer: Answer) -> str | None:
    """The leader's address, if this was the refusal of a node that leads no more."""
    if answer.status not in (409, 503):
        return None
    problem = _problem(answer)
    leader = problem.get("leader")
    return leader if problem.get("code") == "not-leader" and isinstance(leader, str) else None


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.args[1])
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
