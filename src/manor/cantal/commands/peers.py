"""`cantal peers`."""

from __future__ import annotations

import argparse
from typing import Any

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import ago, print_json, table

HEAD = ("ID", "NAME", "ADDRESS", "STATE", "REPORTED", "ROUND-TRIP", "UNREACHABLE FROM")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)


def run(options: argparse.Namespace) -> int:
    answer = Agent(options).get("/all_peers.json")
    if options.json:
        print_json(answer)
    else:
        print(table(HEAD, [row(peer) for peer in sorted(answer["peers"], key=lambda peer: str(peer["name"]))]))
    return 0


def row(peer: dict[str, Any]) -> list[str]:
    trip = peer.get("last_roundtrip")
    links = peer.get("unreachable_from") or []
    return [
        str(peer["id"]),
        str(peer["name"]),
        str(peer.get("primary_addr") or "-"),
        str(peer.get("state", "-")),
        ago(peer.get("last_report_direct")),
        f"{trip[2]:g} ms" if trip else "-",
        ", ".join(f"{link['id']} ({link['direction']})" for link in links) or "-",
    ]
