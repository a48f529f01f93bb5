"""lithos_cmd: run a `Command` of a sandbox in a new container, in the foreground, and end with its exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from manor.lithos.commands.options import guarded, log_level, parser

PROGRAM = "lithos_cmd"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    return guarded(PROGRAM, lambda: run(options))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    from manor.lithos.files.master import DEFAULT_MASTER_CONFIG

    made = parser(PROGRAM, "Run a Command of a sandbox in a new container and wait for it.")
    made.add_argument("--master", type=Path, default=DEFAULT_MASTER_CONFIG, metavar="FILE", help="master config")
    made.add_argument("--log-stderr", action="store_true", help="copy the log to stderr")
    made.add_argument("--log-level", type=log_level, metavar="LEVEL", help="instead of `log-level` of the files")
    made.add_argument("sandbox", metavar="SANDBOX")
    made.add_argument("name", metavar="NAME")
    made.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="appended to `arguments`")
    return made.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    from manor.lithos.command_run import run_command
    from manor.lithos.containers.host import require_root
    from manor.lithos.life import read_master_config

    require_root(PROGRAM)
    config, places = read_master_config(options.master)
    return run_command(
        config,
        places,
        options.sandbox,
        options.name,
        options.arguments,
        log_level=options.log_level,
        log_stderr=options.log_stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
