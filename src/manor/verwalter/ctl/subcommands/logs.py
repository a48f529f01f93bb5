"""`logs`: the last lines of the deployment log of a node, or of one of its roles."""

from __future__ import annotations

import argparse
from typing import Final
from urllib.parse import quote

from manor.verwalter.ctl.client import Client
from manor.verwalter.ctl.errors import NotSupported
from manor.verwalter.ctl.session import Session

LINES: Final = 100
BYTES_AT_FIRST: Final = 64 * 1024
BYTES_MAX: Final = 16 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", nargs="?", metavar="ROLE", help="by default the node's own log of deployments")
    parser.add_argument("-n", dest="lines", type=int, default=LINES, metavar="LINES", help=f"how many; {LINES}")
    parser.add_argument("-f", dest="follow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deployment", metavar="ID", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.follow:
        raise NotSupported("logs -f")
    if arguments.deployment is not None:
        raise NotSupported("logs --deployment")
    path = "log/global/latest" if arguments.role is None else f"log/role/{quote(arguments.role, safe='')}/latest"
    lines = last_lines(session.client, path, arguments.lines)
    if session.json:
        session.print_json(lines)
    else:
        for line in lines:
            print(line)
    return 0


def last_lines(client: Client, path: str, count: int) -> list[str]:
    """Read from the end, more and more until there are enough lines."""
    if count <= 0:
        return []
    size = BYTES_AT_FIRST
    while True:
        text = client.text(path, {"Range": f"bytes=-{size}"})
        lines = text.splitlines()
        if len(lines) > count or len(text.encode()) < size or size >= BYTES_MAX:
            return lines[-count:]
        size *= 4
