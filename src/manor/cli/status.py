"""`manor status`: what the agents of this machine know of the cluster, in one table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from manor.config.errors import ManorError
from manor.delivery.errors import NoConnection
from manor.delivery.node_client import NodeClient, address_of_url
from manor.delivery.push import DEFAULT_PORT, DEFAULT_URL, read_token

CANTAL_PORT: Final = 22682
ANSWER_WITHIN_S: Final = 10.0
DEFAULT_TOKEN_FILE: Final = Path("~/.config/manor/token")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="manor status", description=__doc__)
    parser.add_argument("--url", metavar="URL", default=DEFAULT_URL, help="of verwalter (default: %(default)s)")
    parser.add_argument(
        "--cantal-url", metavar="URL", default=f"http://127.0.0.1:{CANTAL_PORT}", help="(default: %(default)s)"
    )
    parser.add_argument("--token-file", metavar="F", type=Path, help=f"(default: {DEFAULT_TOKEN_FILE})")
    parser.add_argument("--json", action="store_true", help="everything the agents said")
    arguments = parser.parse_args(argv)
    try:
        token = read_token(arguments.token_file, Path(os.path.expanduser(DEFAULT_TOKEN_FILE)))
        verwalter, no_verwalter = _ask("verwalter", arguments.url, DEFAULT_PORT, token, ["/v1/status"])
        paths = ["/status.json", "/all_peers.json"]
        cantal, no_cantal = _ask("cantal", arguments.cantal_url, CANTAL_PORT, token, paths)
    except ManorError as error:
        print(f"manor status: {error}", file=sys.stderr)
        return error.exit_status
    silent = [reason for reason in (no_verwalter, no_cantal) if reason is not None]
    if len(silent) == 2:
        print("\n".join(f"manor status: {reason}" for reason in silent), file=sys.stderr)
        return NoConnection.exit_status
    if arguments.json:
        print(json.dumps({"verwalter": verwalter, "cantal": cantal}, indent=2))
        return 0
    lines = list(describe(verwalter.get("/v1/status"), cantal.get("/status.json"), cantal.get("/all_peers.json")))
    print("\n".join([*lines, *map(str, silent)]))
    return 0


def describe(
    verwalter: Mapping[str, Any] | None, cantal: Mapping[str, Any] | None, peers: Mapping[str, Any] | None
) -> Iterator[str]:
    """The lines of the table; an agent that did not answer is None."""
    leader = (verwalter or {}).get("leader") or {}
    if verwalter is not None:
        failed = verwalter.get("failed_roles") or []
        yield (
            f"verwalter  {verwalter.get('version')}  leader {leader.get('hostname') or 'none'}"
            f"  {verwalter.get('roles', 0)} roles, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}"
            f", {verwalter.get('num_errors', 0)} errors"
        )
        for domain, text in sorted((verwalter.get("errors") or {}).items()):
            yield f"           {domain}: {text}"
    if cantal is None:
        return
    gossip = cantal.get("gossip") or {}
    counts = ", ".join(f"{gossip.get(state, 0)} {state}" for state in ("alive", "suspect", "dead"))
    yield f"cantal     {cantal.get('version')}  {counts}"
    own = {"hostname": cantal.get("hostname"), "primary_addr": "this node", "state": "alive"}
    rows = [("NODE", "ADDRESS", "STATE", "")]
    for peer in [own, *sorted((peers or {}).get("peers", []), key=lambda peer: str(peer.get("hostname")))]:
        name = str(peer.get("hostname"))
        mark = "leader" if leader and name == leader.get("hostname") else ""
        rows.append((name, str(peer.get("primary_addr") or "-"), str(peer.get("state") or "-"), mark))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    yield ""
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _ask(
    name: str, url: str, port: int, token: str | None, paths: Sequence[str]
) -> tuple[dict[str, Any], NoConnection | None]:
    """Path -> document, as far as somebody answers."""
    client = NodeClient(name, (address_of_url(url, port),), token, ANSWER_WITHIN_S)
    try:
        return {path: client.get(path) for path in paths}, None
    except NoConnection as error:
        return {}, error
