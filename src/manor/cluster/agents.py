"""Ask the daemons of a node over HTTP, as an operator's script would."""

from __future__ import annotations

import http.client
import json
from typing import Any

from manor.cluster.provision import CANTAL_PORT, VERWALTER_PORT
from manor.config.errors import ManorError

REQUEST_TIMEOUT_S = 10.0
ACTION_TIMEOUT_S = 40.0


class AgentFailed(ManorError):
    """http://10.77.0.1:8379/v1/status: connection refused"""


class Agents:
    """The daemons of the nodes, reached from outside with one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def ask(
        self, address: str, port: int, path: str, body: object = None, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Any:
        """GET, or POST if there is a body; the decoded JSON answer, None for an empty one."""
        url = f"http://{address}:{port}{path}"
        connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        try:
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                headers["Content-Type"] = "application/json"
                connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise AgentFailed(f"{url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise AgentFailed(f"{url}: status {response.status}: {text.strip()[:200]}")
        return json.loads(text) if text else None

    def verwalter(self, address: str, path: str) -> Any:
        return self.ask(address, VERWALTER_PORT, f"/v1/{path}")

    def cantal(self, address: str, path: str) -> Any:
        return self.ask(address, CANTAL_PORT, path)

    def act(self, leader: str, **button: object) -> str:
        """Push an action to the leader and wait for the scheduler's answer.

        Raises:
            AgentFailed: refused by verwalter, or by the scheduler.
        """
        answer = self.ask(leader, VERWALTER_PORT, "/v1/wait_action", {"button": button}, timeout_s=ACTION_TIMEOUT_S)
        if not isinstance(answer, dict) or not answer.get("ok"):
            raise AgentFailed(f"action {button}: {answer}")
        return str(answer.get("message", ""))
