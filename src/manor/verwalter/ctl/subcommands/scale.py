"""`scale`: set the number of instances of a daemon."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.pushing import push_button
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("daemon", metavar="DAEMON")
    parser.add_argument("count", metavar="N", type=count, help="how many; `auto` for what the scheduler's file says")


def count(word: str) -> int | str:
    if word == "auto":
        return word
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"`{word}`: a number, or `auto`, would be right")
    return int(word)


def run(arguments: argparse.Namespace, session: Session) -> int:
    return push_button(session, arguments.role, "scale", daemon=arguments.daemon, count=arguments.count)
