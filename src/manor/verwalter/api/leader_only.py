"""What only a leader can answer, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.message import Request, Response
from manor.verwalter.api.acting import not_leader
from manor.verwalter.node import Leadership, Node
from manor.verwalter.reports import BadReport, accept_report

LEADER_WITHIN_S: Final = 65.0


class LeaderOnly:
    def __init__(self, node: Node) -> None:
        self._node = node

    def scheduler_input(self, _request: Request) -> dict[str, Any]:
        document = self._leadership().input
        if document is None:
            raise HttpProblem(404, "no round has run yet")
        return document

    def scheduler_debug_info(self, _request: Request) -> Response:
        return Response(body=self._leadership().debug_log.encode(), content_type="text/plain; charset=utf-8")

    def node_report(self, request: Request) -> dict[str, bool]:
        """From another node; kept as long as this one leads."""
        node = self._node
        if not node.is_leader:
            raise not_leader(node, 409)
        signer = request.identity.name if request.identity is not None and request.identity.role == "node" else None
        try:
            report = accept_report(request.body, signer)
        except BadReport as error:
            raise HttpProblem(400, str(error)) from error
        if report["id"] not in node.membership.known:
            raise HttpProblem(403, f"{report['id']} is no known node of this cluster")
        node.membership.hear(report["id"], time.monotonic())
        node.reports[report["id"]] = report
        return {"ok": True}

    def _leadership(self) -> Leadership:
        if self._node.leadership is None:
            raise not_leader(self._node, 404)
        return self._node.leadership


class LeaderRedirect:
    """`/v1/leader-redirect-by-node-name/REST?QUERY` -> the same path on the leader."""

    def __init__(self, node: Node, listen: Callable[[], asyncio.Event]) -> None:
        self._node = node
        self._changed = listen()

    async def answer(self, request: Request) -> Response:
        name = await self._leader_name()
        rest = request.path.removeprefix("/v1/leader-redirect-by-node-name").lstrip("/")
        suffix = "" if request.format is Format.JSON or not rest else f".{request.format.value}"
        query = urlencode(dict(request.query))
        target = f"http://{name}:{self._node.identity.port}/{quote(rest)}{suffix}{'?' if query else ''}{query}"
        return Response(status=308, body=b"", headers={"Location": target, "Cache-Control": "no-cache"})

    async def _leader_name(self) -> str:
        try:
            async with asyncio.timeout(LEADER_WITHIN_S):
                while (name := self._name()) is None:
                    await self._next_change()
                return name
        except TimeoutError:
            raise HttpProblem(404, "this cluster has no leader") from None

    def _name(self) -> str | None:
        leader = self._node.election.leader
        if leader == self._node.identity.id:
            return self._node.identity.name
        peer = self._node.membership.peers.get(leader) if leader is not None else None
        return None if peer is None else peer.name

    async def _next_change(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                self._changed.clear()
                await self._changed.wait()
