"""What changes something: actions for the scheduler, rendering, resigning."""

from __future__ import annotations

import asyncio
import time
from fnmatch import fnmatchcase
from typing import Any, Final

from manor.http.errors import HttpProblem
from manor.http.message import Request, Response
from manor.verwalter.actions import Answer, Ending, TooManyActions
from manor.verwalter.node import Node
from manor.verwalter.rounds import AFTER_ACTION_S

NOBODY: Final = ("anonymous", "local")
ACTION_ANSWER_WITHIN_S: Final = 120.0


class Acting:
    def __init__(self, node: Node) -> None:
        self._node = node

    def register(self, request: Request) -> dict[str, int]:
        return {"registered": self._register(request)}

    async def register_and_wait(self, request: Request) -> Any:
        """200 with the scheduler's answer, 204 without one, 503 if it was lost, 504 after two minutes."""
        id = self._register(request)
        known: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer) -> None:
            if not known.done():  # nobody waits any more
                known.set_result(answer)

        self._node.actions.wait(id, tell)
        try:
            async with asyncio.timeout(ACTION_ANSWER_WITHIN_S):
                answer = await known
        except TimeoutError:
            raise HttpProblem(504, f"no round has succeeded yet; action {id} stays") from None
        match answer.ending:
            case Ending.ANSWERED:
                return answer.value
            case Ending.UNANSWERED:
                return Response(status=204, body=b"")
        raise HttpProblem(503, "this node leads no more; the action is lost, send it to the new leader", code="lost")

    def is_pending(self, request: Request) -> dict[str, bool]:
        text = request.parameters["id"]
        if not text.isdecimal() or len(text) > 18:
            raise HttpProblem(404, "an action's id is a number")
        return {"pending": self._node.actions.is_pending(int(text))}

    def force_render(self, request: Request) -> str:
        document = request.json() if request.body else {}
        roles = document.get("roles") if isinstance(document, dict) else None
        if not isinstance(document, dict) or (roles is not None and not _is_names(roles)):
            raise HttpProblem(400, 'nothing, or {"roles": ["NAME"]} would be right')
        self._node.deployer.force(roles)
        return "ok"

    def forget_orphan(self, request: Request) -> dict[str, bool]:
        document = request.json()
        role = document.get("role") if isinstance(document, dict) else None
        if not isinstance(role, str):
            raise HttpProblem(400, '{"role": "NAME"} would be right')
        if not self._node.deployer.forget_orphan(role):
            raise HttpProblem(404, f"`{role}` is no orphaned role of this node")
        return {"ok": True}

    def resign(self, _request: Request) -> dict[str, bool]:
        if not self._node.is_leader:
            raise not_leader(self._node, 409)
        self._node.resign()
        return {"ok": True}

    def _register(self, request: Request) -> int:
        """The id of the new action. Raises HttpProblem."""
        document = request.json()
        if not isinstance(document, dict):
            raise HttpProblem(400, 'an action is an object, such as {"button": {"role": "site", "action": "restart"}}')
        _check_role(document, request)
        if not self._node.is_leader:
            raise not_leader(self._node, 503)
        if request.identity is not None and request.identity.name not in NOBODY:
            document = {**document, "by": request.identity.name}
        try:
            id = self._node.actions.register(document, int(time.time() * 1000))
        except TooManyActions as error:
            raise HttpProblem(429, str(error)) from error
        if self._node.leadership is not None:
            self._node.leadership.times.wake(time.monotonic(), AFTER_ACTION_S)
            self._node.outside.changed()
        return id


def not_leader(node: Node, status: int) -> HttpProblem:
    """The refusal of a node that does not lead, with the address of the one that does."""
    address = node.leader_address()
    text = "this node does not lead; " + (f"{address} does" if address else "no leader is known")
    return HttpProblem(status, text, code="not-leader", details={"leader": address})


def _check_role(document: dict[str, Any], request: Request) -> None:
    """An operator may be limited to some of the cluster's roles."""
    button = document.get("button")
    role = button.get("role") if isinstance(button, dict) else None
    identity = request.identity
    if identity is None or "*" in identity.roles_allowed:
        return
    if not isinstance(role, str) or not any(fnmatchcase(role, pattern) for pattern in identity.roles_allowed):
        raise HttpProblem(403, f"`{identity.name}` may not act on the role `{role}`")


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
