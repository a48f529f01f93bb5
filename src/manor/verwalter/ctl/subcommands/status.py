"""`status`: one node in short."""

from __future__ import annotations

import argparse
from typing import Any

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import ago, joined, print_pairs, short


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    status = session.client.get("status")
    if session.json:
        session.print_json(status)
    else:
        print_pairs(pairs(status))
    return 0


def pairs(status: dict[str, Any]) -> list[tuple[str, str]]:
    election, leader, scheduler = status["election_state"], status["leader"], status["scheduler"]
    fetching = status["fetch_state"]["state"]
    found = [
        ("node", f"{status['name']} ({status['hostname']}, id {status['id']}, {status['version']})"),
        ("cluster", f"{status['cluster']}, data centre {status['dc']}, {status['peers']} peers"),
        ("leader", "none" if leader is None else f"{leader['name']} ({leader['addr'] or 'address unknown'})"),
        ("election", f"{election['state']}, epoch {election['epoch']}"),
        ("schedule", f"{short(status['schedule_id'])} {status['schedule_status']}, {fetching}"),
        ("leader seen", ago(status["last_stable_timestamp"])),
        ("roles", f"{status['roles']}; failed: {joined(status['failed_roles'])}"),
        ("orphaned", joined(status["orphaned_roles"])),
    ]
    if scheduler.get("rounds"):
        found.append(("scheduler", f"{scheduler['engine']}, {scheduler['rounds']} rounds, {scheduler['last_ms']} ms"))
    errors = sorted(status["errors"].items())
    return [*found, *((f"error {domain}", text) for domain, text in errors)]
