"""`fake-cantal`: answer /all_peers.json from a list of names, for tests and for trying things out."""

from __future__ import annotations

import argparse
from pathlib import Path

from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME", help="NAME, NAME@IP; self:NAME is left out")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="peers n1 to nN instead")
    parser.add_argument("--port", type=int, default=22682, metavar="PORT")
    parser.add_argument("--state", type=Path, metavar="FILE", help="names -> `alive`, `left` or a silence such as 80s")


def run(arguments: argparse.Namespace, _session: Session) -> int:
    from manor.verwalter import fake_cantal

    return fake_cantal.run(arguments.peers, count=arguments.count, port=arguments.port, state_file=arguments.state)
