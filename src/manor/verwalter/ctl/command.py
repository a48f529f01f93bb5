"""Options and the table of subcommands. Start reading here."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from manor import VERSION
from manor.config.errors import ManorError
from manor.config.units import parse_duration
from manor.verwalter.ctl.errors import BadUsage, NotSupported
from manor.verwalter.ctl.session import Session

URL: Final = "http://127.0.0.1:8379"
WATCH_EVERY_S: Final = 2.0
CLEAR: Final = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A row of the table; the code is `subcommands/NAME.py`."""

    help: str
    leader: bool = False  # goes on with the leader, whichever node was asked
    table: bool = False  # `--watch` prints it again and again


SUBCOMMANDS: Final = MappingProxyType(
    {
        "status": Subcommand("a node in short: leader, schedule, roles, errors", table=True),
        "peers": Subcommand("the other nodes as this one sees them", table=True),
        "election": Subcommand("the state of the election and its last changes", table=True),
        "roles": Subcommand("roles with their nodes, versions and troubles", table=True),
        "nodes": Subcommand("nodes with what they report", table=True),
        "failed": Subcommand("roles whose rendering failed, and errors", table=True),
        "explain": Subcommand("why the instances of a role are where they are, or are not", leader=True, table=True),
        "schedule": Subcommand("print the schedule, or the difference of two"),
        "action": Subcommand("push an action to the scheduler", leader=True),
        "update": Subcommand("start or steer the update of a role", leader=True),
        "scale": Subcommand("set the number of instances", leader=True),
        "auto-update": Subcommand("switch automatic updates of a role on or off", leader=True),
        "rerender": Subcommand("render roles of a node now"),
        "logs": Subcommand("the log of deployments, or of one role's"),
        "validate": Subcommand("check a configuration directory"),
        "run-scheduler": Subcommand("run a scheduler once, print its schedule and log"),
        "simulate": Subcommand("play an election in a made-up network"),
        "token": Subcommand("make, list and revoke tokens of /etc/manor/tokens.yaml"),
        "key": Subcommand("make a cluster key"),
        "fake-cantal": Subcommand("answer /all_peers.json from a list of names"),
    }
)
NOT_YET: Final = ("plan", "node", "tail", "history", "shadow", "backup", "dc", "fetch-runtime")


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        return run(options)
    except ManorError as error:
        for line in str(error).strip().splitlines():
            print(f"verwalter-ctl: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    name = options.subcommand
    if name in NOT_YET:
        raise NotSupported(name)
    row = SUBCOMMANDS[name]
    if options.watch is not None and not row.table:
        raise BadUsage(f"`--watch` is for subcommands that print tables, `{name}` does not; leave it out")
    module = import_module(f"manor.verwalter.ctl.subcommands.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"verwalter-ctl {name}", description=row.help, allow_abbrev=False)
    module.add_arguments(parser)
    arguments = parser.parse_args(options.arguments)
    session = Session(
        url=options.url,
        token_file=options.token_file,
        ca=options.ca,
        timeout_s=options.timeout,
        json=options.json,
        leader=options.leader or row.leader,
    )
    while True:
        if options.watch is not None and sys.stdout.isatty():
            print(CLEAR, end="")
        status = int(module.run(arguments, session) or 0)
        if options.watch is None:
            return status
        sys.stdout.flush()
        time.sleep(options.watch)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    words = list(sys.argv[1:] if argv is None else argv)
    # Written alone it must not take the subcommand for its seconds.
    words = [f"--watch={WATCH_EVERY_S}" if word == "--watch" else word for word in words]
    rows = "\n".join(f"  {name:14} {row.help}" for name, row in SUBCOMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="verwalter-ctl",
        usage="verwalter-ctl [OPTIONS] SUBCOMMAND ...",
        description="Ask a verwalter, and tell it what to do.",
        epilog=f"subcommands (each has --help):\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--url", default=URL, help=f"any node of the cluster; {URL} by default")
    add("--token-file", type=Path, metavar="F", help="by default $VERWALTER_TOKEN, then ~/.config/manor/token")
    add("--ca", type=Path, metavar="FILE", help="who signed the certificates of the nodes, for https")
    add("--timeout", type=_duration, default=30.0, metavar="DURATION", help="how long to wait for an answer; 30s")
    add("--json", action="store_true", help="the documents instead of tables")
    add("--watch", type=_seconds, metavar="SECONDS", help="print the table again and again (--watch or --watch=5)")
    add("--leader", action="store_true", help="go on with the leader of the cluster")
    add("--version", action="version", version=f"verwalter-ctl v{VERSION}")
    add("subcommand", choices=[*SUBCOMMANDS, *NOT_YET], metavar="SUBCOMMAND", help=argparse.SUPPRESS)
    add("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"`{text}`: seconds from 0.1 to 86400 would be right")
    return seconds
