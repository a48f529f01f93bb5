"""`nodes`: all nodes, with what they report to the leader."""

from __future__ import annotations

import argparse
from typing import Any

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import joined, print_table, span_ms

HEAD = ("HOST", "ADDRESS", "STATE", "HEARD", "INSTANCES", "FAILED ROLES", "ERRORS", "VERSION")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    nodes = session.client.get("nodes")
    if session.json:
        session.print_json(nodes)
        return 0
    print_table(HEAD, [row(host, node) for host, node in sorted(nodes.items())])
    return 0


def row(host: str, node: dict[str, Any]) -> tuple[str, ...]:
    report = node["report"] or {}
    state = "self" if node["self"] else "responsive" if node["responsive"] else "silent"
    heard = "-" if node["age_ms"] is None else span_ms(node["age_ms"])
    return (
        host,
        str(node["addr"]),
        state,
        heard,
        instances(report.get("instances")),
        joined(report.get("failed_roles", [])),
        joined(sorted(report.get("errors", {}))),
        str(report.get("version", "-")),
    )


def instances(reported: dict[str, Any] | None) -> str:
    """`3 ready, 1 failed`; `-` where there is no lithos or no report."""
    if not reported:
        return "-"
    states = [str(one.get("state")) for one in reported.values()]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
