"""`explain`: why the instances of a role are where they are, and what keeps the others from running."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from manor.verwalter.ctl.errors import NotFound
from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import ago, print_table

HEAD = ("NODE", "INSTANCE", "VERSION", "STATE", "SINCE", "RESTARTS", "ERROR")


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One wanted instance and what its node reports of it."""

    node: str
    name: str  # web-a.0
    version: str
    state: str
    since: int | None = None
    restarts: int | None = None
    error: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("--node", metavar="N", help="only what is on this node")


def run(arguments: argparse.Namespace, session: Session) -> int:
    data, nodes = session.client.get("schedule")["data"], session.client.get("nodes")
    role, node = arguments.role, arguments.node
    if role not in data.get("roles", {}):
        raise NotFound(f"no such role `{role}`; there are {', '.join(sorted(data.get('roles', {}))) or 'none'}")
    if node is not None and node not in nodes:
        raise NotFound(f"no such node `{node}`; there are {', '.join(sorted(nodes))}")
    found = [one for one in instances(role, data, nodes) if node in (None, one.node)]
    told = list(notes(role, data, nodes))
    if session.json:
        session.print_json({"instances": msgspec.to_builtins(found), "notes": told})
        return 0
    print_table(HEAD, [_row(one) for one in found])
    for line in told:
        print(line)
    return 0


def instances(role: str, data: Mapping[str, Any], nodes: Mapping[str, Any]) -> Iterator[Instance]:
    """Every instance that the schedule wants, node by node."""
    for host, part in sorted(data.get("nodes", {}).items()):
        here = part.get("roles", {}).get(role, {})
        report = (nodes.get(host) or {}).get("report") or {}
        for key, daemon in sorted((here.get("daemons") or {}).items()):
            for index in range(daemon.get("instances", 0)):
                yield _instance(host, f"{key}.{index}", daemon, report)


def _instance(host: str, name: str, daemon: Mapping[str, Any], report: Mapping[str, Any]) -> Instance:
    version = str(daemon.get("version", "-"))
    # Reports name instances SANDBOX/NAME; which sandbox a role lives in, its images tell.
    reported = [
        one
        for key, one in (report.get("instances") or {}).items()
        if key.rpartition("/")[2] == name and one.get("image") in (None, daemon.get("image"))
    ]
    if not reported:
        image = daemon.get("image")
        sandboxes = report.get("sandboxes") or {}
        missing = bool(sandboxes) and not any(image in one.get("images", ()) for one in sandboxes.values())
        state = "no report" if not report else f"waits for image {image}" if missing else "not started"
        return Instance(node=host, name=name, version=version, state=state)
    one = reported[0]
    return Instance(
        node=host,
        name=name,
        version=version,
        state=str(one.get("state")),
        since=one.get("since"),
        restarts=one.get("restarts"),
        error=one.get("error"),
    )


def notes(role: str, data: Mapping[str, Any], nodes: Mapping[str, Any]) -> Iterator[str]:
    """What concerns the role as a whole."""
    part = data["roles"][role]
    info = part.get("info") or {}
    yield f"version {part.get('version') or 'none'}" + (f", update {info['update']}" if info.get("update") else "")
    if info.get("error"):
        yield f"scheduler: {info['error']}"
    for daemon, unplaced in sorted((part.get("unplaced") or {}).items()):
        yield f"not placed: {daemon}: {unplaced}"
    for version, reason in sorted((part.get("bad_versions") or {}).items()):
        yield f"version {version} cannot be used: {reason}"
    for host, node in sorted(nodes.items()):
        if role in ((node.get("report") or {}).get("failed_roles") or []):
            yield f"rendering failed on {host}; its log there says why"
        if not node.get("responsive", True) and not node.get("self"):
            yield f"{host} does not respond"


def _row(one: Instance) -> tuple[str, ...]:
    restarts = "-" if one.restarts is None else str(one.restarts)
    return one.node, one.name, one.version, one.state, ago(one.since), restarts, one.error or "-"
