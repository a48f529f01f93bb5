"""Schedules by hash, roles in short, and what this node renders of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.message import Request, Response
from manor.verwalter.node import Node
from manor.verwalter.responder import roles_of_node


class Schedules:
    """The last known schedule, or another one that is still at hand."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def get(self, request: Request) -> Response:
        transport = self._node.transport
        hash = request.query.get("hash")
        if hash is None and transport.last_known is not None:
            hash = transport.last_known.hash
        envelope = transport.shelf.get(hash) if hash is not None else None
        if hash is None or envelope is None:
            raise HttpProblem(404, "no schedule is known here yet" if hash is None else "no such schedule here")
        headers = {"ETag": f'"{hash}"'}
        if request.format is Format.JSON:
            return Response(body=transport.shelf.text(hash), content_type="application/json", headers=headers)
        return Response(data=msgspec.to_builtins(envelope), headers=headers)


def roles(node: Node) -> dict[str, Any]:
    """Per role: where it is, in which versions, and what is wrong."""
    schedule = node.transport.stable or node.transport.last_known
    if schedule is None:
        raise HttpProblem(503, "no schedule is known here yet")
    data, deployer = schedule.data, node.deployer
    parts = data.get("nodes", {})
    of_nodes = {name: part["roles"] for name, part in parts.items() if isinstance(part.get("roles"), dict)}
    names = set(data.get("roles", {})).union(*of_nodes.values(), deployer.orphaned)
    return {name: _role(name, data.get("roles", {}).get(name, {}), of_nodes, node) for name in sorted(names)}


def _role(name: str, part: Any, of_nodes: dict[str, Any], node: Node) -> dict[str, Any]:
    part = part if isinstance(part, dict) else {}
    info = part.get("info") if isinstance(part.get("info"), dict) else {}
    return {
        "nodes": sorted(host for host, here in of_nodes.items() if name in here),
        "version": part.get("version"),
        "versions": part.get("versions", []),
        "failed": name in node.deployer.failed,
        "error": node.deployer.deployed[name].error if name in node.deployer.deployed else None,
        "orphaned": name in node.deployer.orphaned,
        "update": info.get("update") if isinstance(info, dict) else None,
    }


def roles_data(node: Node) -> dict[str, Any]:
    """What the responder says for this node."""
    schedule = node.transport.stable or node.transport.last_known
    if schedule is None:
        raise HttpProblem(503, "no schedule is known here yet")
    answer = roles_of_node(schedule.data, node.identity.hostname, datetime.now(UTC))
    return {"to_render": answer.to_render, "all_roles": list(answer.all_roles)}
