"""`_help`: what a command is for, without running anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    if not words:
        from manor.vagga.listing import overview

        print(overview(session.entries()), end="")
        return 0
    from manor.vagga.commands.table import BUILT_IN, find_built_in

    if words[0] in BUILT_IN:
        try:
            return find_built_in(words[0])(session, ["--help"])
        except SystemExit:
            return 0
    from manor.vagga.commands.user import find_command

    print(describe(session, find_command(session, words[0])), end="")
    sys.stdout.flush()
    return 0


def describe(session: Session, name: str) -> str:
    """Description and usage."""
    command = session.merged.commands[name]
    usage = f"usage: vagga {name}{' [ARGUMENT...]' if command.takes_arguments else ''}\n"
    return f"{command.description.strip()}\n\n{usage}" if command.description.strip() else usage
