"""Asking a node over HTTP: one request, one answer, the errors as types."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from manor.delivery.errors import BadUsage, DeliveryError, NameTaken, NoConnection, NotAuthorised, NotSupported
from manor.delivery.messages import Announce, Announced, Commit, Committed, PlanNode, RuntimeVersion
from manor.delivery.routes import PREFIX

CONNECT_WITHIN_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024

T = TypeVar("T")


class Unverified(DeliveryError):
    """The node says that what arrived is not what was announced: sending again may help."""


class Unavailable(NoConnection):
    """The node is there but cannot answer just now, for want of a leader perhaps: asking again helps."""


@dataclass(frozen=True, slots=True)
class NodeClient:
    """One node, at the first of its addresses that takes a connection."""

    name: str
    addresses: Sequence[str]  # `HOST:PORT`
    token: str | None
    answer_within_s: float

    def plan(self, sandbox: str, role: str | None) -> tuple[PlanNode, ...]:
        query = f"?sandbox={quote(sandbox)}" + (f"&role={quote(role)}" if role is not None else "")
        return self._ask("GET", f"{PREFIX}/plan{query}", None, tuple[PlanNode, ...])

    def get(self, path: str) -> Any:
        """Any document the node gives out, as plain data."""
        return self._ask("GET", path, None, Any)

    def announce(self, announce: Announce) -> Announced:
        return self._ask("POST", f"{PREFIX}/announce", announce, Announced)

    def put_index(self, id_: str, data: bytes) -> None:
        self._ask("PUT", f"{PREFIX}/index/{id_}", data, Any)

    def commit(self, commit: Commit) -> Committed:
        return self._ask("POST", f"{PREFIX}/commit", commit, Committed)

    def put_runtime(self, runtime: RuntimeVersion) -> None:
        self._ask("POST", f"{PREFIX}/config/runtime", runtime, Any)

    def _ask(self, method: str, path: str, body: Any, into: type[T] | Any) -> T:
        if isinstance(body, bytes):
            payload, content_type = body, "application/octet-stream"
        else:
            payload, content_type = msgspec.json.encode(body), "application/json"
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        status, answer = self._exchange(method, path, payload if body is not None else None, headers)
        if status != 200:
            raise _error(self.name, status, answer)
        try:
            found: T = msgspec.json.decode(answer, type=into)
        except msgspec.DecodeError as error:
            raise DeliveryError(f"{self.name}: the answer to {method} {path} is none of a node's: {error}") from error
        return found

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise NoConnection(f"{self.name}: {method} {path}: {_reason(error)}") from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        failures = []
        for address in self.addresses:
            host, port = split_address(address)
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_WITHIN_S)
            try:
                connection.connect()
            except OSError as error:
                failures.append(f"{address}: {_reason(error)}")
                continue
            connection.sock.settimeout(self.answer_within_s)
            return connection
        raise NoConnection(f"{self.name}: no connection: {'; '.join(failures) or 'it has no address'}")


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPv6]:PORT`; BadUsage for anything else."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path:
        raise BadUsage(f"`{address}` is no address; `HOST:PORT` would be right")
    return host, port


def address_of_url(url: str, default_port: int) -> str:
    """`http://HOST[:PORT]` -> `HOST:PORT`; BadUsage or NotSupported for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or default_port
    except ValueError as error:
        raise BadUsage(f"`{url}`: {error}") from error
    if parts.scheme == "https":
        raise NotSupported("https://")
    if parts.scheme != "http" or not host or parts.path not in ("", "/"):
        raise BadUsage(f"`{url}` is no address of a node; `http://HOST:{default_port}` would be right")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.args[1])
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _error(node: str, status: int, answer: bytes) -> DeliveryError:
    try:
        text = str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        text = f"HTTP status {status}"
    text = f"{node}: {text}"
    if status in (401, 403):
        return NotAuthorised(text)
    if status == 409:
        return NameTaken(text)
    if status == 422:
        return Unverified(text)
    return Unavailable(text) if status == 503 else DeliveryError(text)
