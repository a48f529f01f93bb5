"""`election`: the state of the election on a node, and its last changes."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import ago, print_pairs, print_table


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace, session: Session) -> int:
    election = session.client.get("election")
    if session.json:
        session.print_json(election)
        return 0
    votes = election["num_votes_for_me"]
    print_pairs(
        [
            ("state", f"{election['state']}, epoch {election['epoch']}"),
            ("leader", str(election["leader"] or "none")),
            ("votes", f"{'-' if votes is None else votes} of {election['needed_votes']} needed"),
            ("counted peers", f"{election['counted_peers']}, view {'fresh' if election['fresh'] else 'stale'}"),
            ("may stand", "yes" if election["may_stand"] else "no"),
        ]
    )
    print()
    rows = [
        (ago(event["at"]), event["from"], event["to"], str(event["epoch"]), event["reason"])
        for event in election["events"]
    ]
    print_table(("AGO", "FROM", "TO", "EPOCH", "REASON"), rows)
    return 0
