"""`key generate`: a new cluster key, for /etc/manor/cluster.key of every node."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("generate",))


def run(_arguments: argparse.Namespace, session: Session) -> int:
    from manor.trust.keys import generate_key

    if session.json:
        session.print_json({"key": generate_key()})
    else:
        print(generate_key())
    return 0
