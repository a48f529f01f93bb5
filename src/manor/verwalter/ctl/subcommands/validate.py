"""`validate`: what `verwalter --check` says of a directory; no daemon is needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from manor.verwalter.ctl.errors import NotFound, ProblemsFound
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", type=Path, default=Path("/etc/verwalter"), metavar="DIR")


def run(arguments: argparse.Namespace, _session: Session) -> int:
    from manor.verwalter.checking import check  # loads every engine
    from manor.verwalter.render.checking import template_problems

    directory: Path = arguments.directory
    if not directory.is_dir():
        raise NotFound(f"{directory}: no such directory")
    status = check(directory, directory / "verwalter.yaml")
    of_templates = list(template_problems(directory))
    for problem in of_templates:
        print(problem, file=sys.stderr)
    if status or of_templates:
        raise ProblemsFound(f"{directory}: has problems, see above")
    return 0
