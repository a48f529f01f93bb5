"""`roles`: what is deployed where, in which versions."""

from __future__ import annotations

import argparse
from typing import Any

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import joined, print_table

HEAD = ("ROLE", "VERSION", "NODES", "VERSIONS", "UPDATE", "TROUBLE")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    roles = session.client.get("roles")
    if session.json:
        session.print_json(roles)
        return 0
    rows = [
        (
            name,
            str(role["version"] or "-"),
            joined(role["nodes"]),
            joined(role["versions"]),
            str(role["update"] or "-"),
            trouble(role),
        )
        for name, role in sorted(roles.items())
    ]
    print_table(HEAD, rows)
    return 0


def trouble(role: dict[str, Any]) -> str:
    """What is wrong with a role on the node that was asked."""
    if role["failed"]:
        return f"failed: {role.get('error') or 'see its log'}"
    return "orphaned" if role["orphaned"] else "-"
