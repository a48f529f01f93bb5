"""`update`: start the update of a role to a version, and steer it."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.errors import BadUsage
from manor.verwalter.ctl.pushing import push_button
from manor.verwalter.ctl.session import Session

TO_A_VERSION = {"start": "start_update", "force": "force_version"}
STEERING = ("pause", "resume", "revert", "skip", "proceed", "ack", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("what", choices=[*TO_A_VERSION, *STEERING])
    parser.add_argument("value", nargs="?", metavar="VERSION|TEXT", help="of `start` and `force`; of `error`")
    parser.add_argument("--step", metavar="S", help="refuse unless the update is at this step")


def run(arguments: argparse.Namespace, session: Session) -> int:
    what, value = arguments.what, arguments.value
    if what in TO_A_VERSION:
        if value is None:
            raise BadUsage(f"`update {arguments.role} {what}` needs a version")
        if arguments.step is not None:
            raise BadUsage(f"`--step` means nothing to `{what}`; leave it out")
        return push_button(session, arguments.role, TO_A_VERSION[what], to_version=value)
    if (value is not None) != (what == "error"):
        raise BadUsage("`update ROLE error TEXT` has a text, the others have none")
    return push_button(
        session, arguments.role, "update_action", update_action=what, step=arguments.step, error_message=value
    )
