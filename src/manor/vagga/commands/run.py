"""`_run`: run a program in a container, with its volumes and environment."""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga.errors import UsageError
from manor.vagga.images import Check
from manor.vagga.launching import launch_in
from manor.vagga.session import Session

USAGE = "usage: vagga _run [-W|--writeable|--writable] [--step N] NAME PROG [ARG...]"
CHECKS = {"--no-build": Check.NO_BUILD, "--no-version-check": Check.NO_CHECK, "--no-image-download": Check.BUILD}


def run(session: Session, words: Sequence[str]) -> int:
    rest, writable, step, check = list(words), False, None, session.check
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag in ("-h", "--help"):
            print(USAGE)
            return 0
        if flag in ("-W", "--writeable", "--writable"):
            writable = True
        elif flag in CHECKS:
            check = CHECKS[flag]
        elif flag == "--step" and rest and rest[0].isdigit():
            step = int(rest.pop(0))
        else:
            raise UsageError(f"unknown flag `{flag}`, or its number is missing\n{USAGE}")
    if len(rest) < 2:
        raise UsageError(f"a container and a program are needed\n{USAGE}")
    name, *program = rest
    if step is not None:
        return launch_in(session, name, program, writable=True, lower=session.images.layers_until(name, step))
    session.images.require(name, check)
    return launch_in(session, name, program, writable=writable)
