"""lithos_check: is everything that is configured fit to run? All problems are shown, with file, line and column."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from manor.lithos.commands.options import add_config, guarded, parser

PROGRAM = "lithos_check"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    return guarded(PROGRAM, lambda: run(options))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(PROGRAM, "Check the configuration of this machine, or container configs by themselves.")
    add_config(made, "-C", "--config")
    made.add_argument("-v", "--verbose", action="store_true", help="also print the host's name and every file checked")
    made.add_argument(
        "--alternate-config", type=Path, metavar="FILE", help="use FILE instead of the processes file of --sandbox"
    )
    made.add_argument(
        "--sandbox",
        "--sandbox-name",
        "-T",
        "--tree",
        "--subtree-name",
        dest="sandbox",
        metavar="NAME",
        help="see above",
    )
    made.add_argument(
        "--check-container",
        type=Path,
        action="append",
        metavar="FILE",
        help="check only this container config, by itself",
    )
    options = made.parse_args(argv)
    if options.alternate_config is not None and options.sandbox is None:
        print("--alternate-config needs --sandbox", file=sys.stderr)
        raise SystemExit(1)
    return options


def run(options: argparse.Namespace) -> int:
    if options.check_container:
        return _check_containers(options.check_container, verbose=options.verbose)
    from manor.config.loader import ConfigError
    from manor.lithos.checking import check, host_address
    from manor.lithos.configured import Alternate
    from manor.lithos.errors import Fatal
    from manor.lithos.life import read_master_config

    def say(text: str) -> None:
        if options.verbose:
            print(text)

    config, places = read_master_config(options.config)
    say(f"host name: {socket.gethostname()}")
    say(f"host address: {host_address() or 'unknown'}")
    alternate = None
    if options.alternate_config is not None:
        alternate = Alternate(options.sandbox, str(options.alternate_config), _read(options.alternate_config))
    elif options.sandbox is not None and not places.sandbox_file(options.sandbox).exists():
        raise Fatal(f"there is no sandbox `{options.sandbox}`; make {places.sandbox_file(options.sandbox)}")
    try:
        report = check(config, places, alternate, say)
    except ConfigError as error:
        raise Fatal(str(error)) from error
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    for line in report.all_errors:
        print(line, file=sys.stderr)
    return 1 if report.all_errors else 0


def _read(path: Path) -> bytes:
    from manor.config.dialect import LITHOS
    from manor.config.loader import read_bounded

    return read_bounded(path, str(path), LITHOS)


def _check_containers(paths: Sequence[Path], *, verbose: bool) -> int:
    from manor.lithos.checking import check_container_file

    failed = False
    for path in paths:
        if verbose:
            print(f"container config {path}")
        errors, warnings = check_container_file(path)
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
        for line in errors:
            print(line, file=sys.stderr)
        failed = failed or bool(errors)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
