"""`schedule`: print it, or what differs between two."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from manor.verwalter.ctl.client import Client
from manor.verwalter.ctl.differences import Difference, differences, shown
from manor.verwalter.ctl.errors import BadUsage, NotFound, NotSupported
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--diff", nargs="*", metavar="A B",
        help="compare two: beginnings of hashes, `now` or `prev`; by default `prev now`",
    )  # fmt: skip
    parser.add_argument("--role", metavar="R", help="only this role")
    parser.add_argument("--node", metavar="N", help="only this node")


def run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.diff is None:
        envelope = session.client.get("schedule")
        if arguments.role is not None or arguments.node is not None:
            session.print_json(part(envelope["data"], arguments.role, arguments.node))
        else:
            session.print_json(envelope)
        return 0
    if len(arguments.diff) > 2:
        raise BadUsage("`--diff` compares two schedules; at most two names would be right")
    names = [*arguments.diff, *("prev", "now")[len(arguments.diff) :]] if arguments.diff else ["prev", "now"]
    before, after = (
        part(find(session.client, name)["data"], arguments.role, arguments.node, state=False) for name in names
    )
    found = differences(before, after)
    if session.json:
        session.print_json([_plain(one) for one in found])
    else:
        for one in found:
            print(shown(one))
    return 0


def part(data: Mapping[str, Any], role: str | None, node: str | None, *, state: bool = True) -> dict[str, Any]:
    """What concerns a role, a node or both. Raises NotFound if there is no such one."""
    nodes: Mapping[str, Any] = data.get("nodes", {})
    if node is not None:
        nodes = {node: _one(nodes, node, "node")}
    if role is None:
        kept = {"nodes": nodes} if node is not None else {**data}
        return kept if state else {name: value for name, value in kept.items() if name != "state"}
    here = {host: value["roles"][role] for host, value in nodes.items() if role in value.get("roles", {})}
    found: dict[str, Any] = {"nodes": {host: {"roles": {role: value}} for host, value in here.items()}}
    if node is None:
        found["roles"] = {role: _one(data.get("roles", {}), role, "role")}
        if state and role in data.get("state", {}):
            found["state"] = {role: data["state"][role]}
    elif not here:
        raise NotFound(f"no such role `{role}` on node `{node}`")
    return found


def _one(entries: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in entries:
        known = ", ".join(f"`{one}`" for one in sorted(entries)) or "none"
        raise NotFound(f"no such {kind} `{name}`; there are {known}")
    return entries[name]


def find(client: Client, name: str) -> dict[str, Any]:
    """The envelope by its name on the command line. Raises NotFound, NotSupported."""
    if name.startswith("shadow:") or re.match(r"(hourly|daily|weekly|manual)-", name):
        raise NotSupported(name)
    now: dict[str, Any] = client.get("schedule")
    if name == "now":
        return now
    known = [now["hash"], *(hash for hash, _timestamp in now["ancestors"])]
    if name == "prev":
        if len(known) < 2:
            raise NotFound("the schedule has no ancestor yet")
        chosen = known[1]
    else:
        matching = [hash for hash in known if hash.startswith(name)]
        if len(matching) > 1:
            raise NotFound(f"`{name}` begins {len(matching)} hashes; write more of it")
        chosen = matching[0] if matching else name
    envelope: dict[str, Any] = client.get(f"schedule?hash={chosen}")
    return envelope


def _plain(one: Difference) -> dict[str, Any]:
    return {"path": one.path, "op": one.op, "old": one.old, "new": one.new}
