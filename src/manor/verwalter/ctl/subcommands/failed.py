"""`failed`: roles that could not be rendered, and errors of daemons; all nodes' if the leader is asked."""

from __future__ import annotations

import argparse
from typing import Any

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import print_table


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    status, nodes, roles = session.client.get("status"), session.client.get("nodes"), {}
    if status["failed_roles"]:
        roles = session.client.get("roles")
    found = failures(status, nodes, roles)
    if session.json:
        session.print_json([dict(zip(("node", "kind", "name", "error"), one, strict=True)) for one in found])
    else:
        print_table(("NODE", "KIND", "NAME", "ERROR"), found)
    return 0


def failures(status: dict[str, Any], nodes: dict[str, Any], roles: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Node, kind, name, error; of other nodes as far as their reports are here."""
    own = status["hostname"]
    rows = [(own, "role", name, str(roles.get(name, {}).get("error") or "see its log"))
            for name in status["failed_roles"]]  # fmt: skip
    rows += [(own, "daemon", domain, text) for domain, text in sorted(status["errors"].items())]
    for host, node in sorted(nodes.items()):
        report = node["report"] if host != own else None
        if report:
            rows += [(host, "role", name, "see its log there") for name in report.get("failed_roles", [])]
            rows += [(host, "daemon", domain, str(text)) for domain, text in sorted(report.get("errors", {}).items())]
    return rows
