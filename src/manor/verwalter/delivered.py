"""Delivery on this node: which directories images go to, and which nodes should have an image."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from manor.delivery.configs import ConfigStore
from manor.delivery.messages import PlanNode
from manor.delivery.staging import Receiver
from manor.http.errors import HttpProblem
from manor.trust.requests import sign
from manor.verwalter.api.nodes import nodes
from manor.verwalter.links.reports import Reporter
from manor.verwalter.node import Node

ASK_WITHIN_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


def receiver(node: Node, reporter: Reporter, config_dir: Path) -> Receiver:
    """The receiving side, told by lithos' configuration where images of a sandbox lie."""

    def image_dir(sandbox: str) -> Path | None:
        here = reporter.lithos
        return here.sandboxes[sandbox].image_dir if here is not None and sandbox in here.sandboxes else None

    def levels(sandbox: str) -> int:
        here = reporter.lithos
        return here.sandboxes[sandbox].levels if here is not None and sandbox in here.sandboxes else 1

    state_dir = node.storage.directory / "delivery"
    return Receiver(image_dir, state_dir, image_levels=levels, configs=ConfigStore(config_dir))


class DeliveryPlan:
    """Who should have the images of a sandbox: the nodes whose report names it. Reports are with the leader."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __call__(self, sandbox: str, role: str | None) -> Sequence[PlanNode]:
        """Called in a thread. Raises HttpProblem when there is nobody to ask."""
        known = nodes(self._node) if self._node.is_leader else self._ask_leader()
        return [
            PlanNode(hostname=name, addresses=(about["addr"],) if about["addr"] else ())
            for name, about in sorted(known.items())
            if _has_sandbox(about, sandbox) and (role is None or self._is_place_of(role, name))
        ]

    def _is_place_of(self, role: str, hostname: str) -> bool:
        """A node has the role already, or the role is nowhere yet."""
        schedule = self._node.transport.last_known
        parts = schedule.data.get("nodes", {}) if schedule is not None else {}
        places = {name for name, part in parts.items() if role in (part.get("roles") or {})}
        return not places or hostname in places

    def _ask_leader(self) -> dict[str, Any]:
        address, keys = self._node.leader_address(), self._node.request_keys
        if address is None:
            raise HttpProblem(503, "no leader knows the nodes yet; try again in a few seconds")
        request = urllib.request.Request(f"http://{address}/v1/nodes", headers={"Accept": "application/json"})
        if keys is not None:
            signature = sign(
                keys, method="GET", path="/v1/nodes", body=b"", node_id=self._node.identity.id, now=time.time()
            )
            request.add_header("Authorization", signature)
        try:
            with urllib.request.urlopen(request, timeout=ASK_WITHIN_S) as response:
                found = json.loads(response.read(ANSWER_BYTES_MAX))
        except (OSError, urllib.error.URLError, ValueError) as error:
            raise HttpProblem(503, f"the leader at {address} did not answer: {error}") from error
        return found if isinstance(found, dict) else {}


def _has_sandbox(about: dict[str, Any], sandbox: str) -> bool:
    report = about.get("report")
    return isinstance(report, dict) and sandbox in (report.get("sandboxes") or {})
