"""Peers and nodes, as lists and as the scheduler sees them."""

from __future__ import annotations

import time
from typing import Any

from manor.verwalter.node import Node
from manor.verwalter.round_input import address_of, nodes_document


def peers(node: Node) -> list[dict[str, Any]]:
    """By host name."""
    port = node.identity.port
    found = [
        {
            "id": known.peer.id,
            "name": known.peer.name,
            "hostname": known.peer.hostname,
            "primary_addr": address_of(known.peer, port),
            "known_since": known.peer.known_since,
            "last_report_direct": known.peer.last_report_direct,
            "errors": known.errors,
            "responsive": known.responsive,
        }
        for known in node.known_peers(time.monotonic())
    ]
    return sorted(found, key=lambda peer: (str(peer["hostname"]), str(peer["id"])))


def nodes(node: Node) -> dict[str, Any]:
    """As in the scheduler's input; reports only on the leader."""
    return nodes_document(node.situation(time.monotonic(), int(time.time() * 1000), (), {}))
