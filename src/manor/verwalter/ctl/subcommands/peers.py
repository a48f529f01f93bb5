"""`peers`: the other nodes as this one sees them."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import ago, print_table

HEAD = ("HOST", "NAME", "ADDRESS", "RESPONSIVE", "HEARD", "KNOWN", "ERRORS", "ID")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    peers = session.client.get("peers")
    if session.json:
        session.print_json(peers)
        return 0
    rows = [
        (
            str(peer["hostname"]),
            str(peer["name"]),
            str(peer["primary_addr"]),
            "yes" if peer["responsive"] else "no",
            ago(peer["last_report_direct"]),
            ago(peer["known_since"]),
            str(peer["errors"]),
            str(peer["id"]),
        )
        for peer in peers
    ]
    print_table(HEAD, rows)
    return 0
