"""lithos_switch: check a processes file, put it in the place of the present one, and have the master take it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from manor.lithos.commands.options import guarded, parser

PROGRAM = "lithos_switch"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    return guarded(PROGRAM, lambda: run(options))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    from manor.lithos.files.master import DEFAULT_MASTER_CONFIG

    made = parser(PROGRAM, "Check and install a processes file, then have the running master take it.")
    made.add_argument("--master", type=Path, default=DEFAULT_MASTER_CONFIG, metavar="FILE", help="master config")
    made.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    made.add_argument("sandbox", metavar="SANDBOX")
    made.add_argument("new_config", type=Path, metavar="NEW_CONFIG")
    return made.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    from manor.config.dialect import LITHOS
    from manor.config.loader import read_bounded
    from manor.lithos.checking import check
    from manor.lithos.configured import Alternate
    from manor.lithos.containers.host import require_root
    from manor.lithos.files.names import is_plain_name
    from manor.lithos.life import read_master_config
    from manor.lithos.master_lock import running_master
    from manor.lithos.process_config import read_sandbox

    def say(text: str) -> None:
        if options.verbose:
            print(text)

    require_root(PROGRAM)
    config, places = read_master_config(options.master)
    sandbox = options.sandbox
    if not is_plain_name(sandbox):
        print(f"{PROGRAM}: `{sandbox}` cannot be the name of a sandbox", file=sys.stderr)
        return 1
    text = read_bounded(options.new_config, str(options.new_config), LITHOS)
    report = check(config, places, Alternate(sandbox, str(options.new_config), text), say)
    others = [line for name, lines in report.sandboxes.items() if name != sandbox for line in lines]
    for line in (*report.warnings, *others):
        print(f"warning: {line}", file=sys.stderr)
    refusals = [*report.errors, *report.sandboxes.get(sandbox, ())]
    if refusals:
        for line in refusals:
            print(line, file=sys.stderr)
        print(f"{PROGRAM}: refused, nothing was changed", file=sys.stderr)
        return 1
    limits = read_sandbox(places.sandbox_file(sandbox)).value
    target = places.processes_file(sandbox, limits.config_file)
    try:
        install(text, target, sandbox)
    except OSError as error:
        print(f"{PROGRAM}: cannot write {target}: {error.strerror}", file=sys.stderr)
        return 1
    say(f"installed {target}")
    master = running_master(places.pid_file)
    if master is None:
        print(f"warning: no lithos_tree runs for {options.master}; the file is taken when one starts", file=sys.stderr)
        return 0
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.kill(master, signal.SIGQUIT)
    say(f"told the master (pid {master})")
    return 0


def install(text: bytes, target: Path, sandbox: str) -> None:
    """A reader sees the old or the new file, also after a power cut. Raises OSError."""
    temporary = target.with_name(f".tmp.{sandbox}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


if __name__ == "__main__":
    sys.exit(main())
