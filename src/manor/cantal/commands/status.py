"""`cantal status`."""

from __future__ import annotations

import argparse
from typing import Any

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import ago, print_json, size, span


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)


def run(options: argparse.Namespace) -> int:
    status = Agent(options).get("/status.json")
    if options.json:
        print_json(status)
    else:
        for name, text in summary(status):
            print(f"{name:10} {text}")
    return 0


def summary(status: dict[str, Any]) -> list[tuple[str, str]]:
    """What one wants to know first."""
    gossip, report, series = status.get("gossip"), status.get("self_report"), status["series"]
    window = span(status["keep_history"])
    rows = [
        ("node", f"{status.get('name')} ({status.get('id')}), cantal {status['version']}"),
        ("running", f"since {ago(status['startup_time'])}, machine since {ago((status['boot_time'] or 0) * 1000)}"),
        (
            "scan",
            f"{status['scan_duration']} ms every {status['interval'] / 1000:g} s, "
            f"last {ago(status['last_scan'])} ago, {status['processes']} processes",
        ),
        (
            "history",
            f"{status['ticks']} ticks of {window}, {series['fine']} series, {series['tip']} states",
        ),
        ("cluster", _cluster(status, gossip)),
    ]
    if report:
        rows.append(("takes", f"{report['gross_cpu_usage']:.1f}% of a core, {size(report['memory_rss'])}"))
    rows += [("missing", text) for text in status.get("missing_permissions", [])]
    rows += [("problem", str(text)) for text in status.get("config_errors", [])]
    if status.get("duplicate_machine_id"):
        rows.append(("problem", f"another node has this machine id: {status['duplicate_machine_id']}"))
    return rows


def _cluster(status: dict[str, Any], gossip: dict[str, Any] | None) -> str:
    if not gossip:
        return "standalone"
    counts = ", ".join(
        f"{gossip[state]} {state}" for state in ("alive", "suspect", "dead", "left") if gossip.get(state)
    )
    return f"{status['cluster_name']}: {status['num_peers']} peers ({counts or 'none yet'})"
