"""`auto-update`: whether a role goes to new versions by itself."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.pushing import push_button
from manor.verwalter.ctl.session import Session

ACTIONS = {"on": "enable_auto_update", "off": "disable_auto_update"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("switch", choices=list(ACTIONS))


def run(arguments: argparse.Namespace, session: Session) -> int:
    return push_button(session, arguments.role, ACTIONS[arguments.switch])
