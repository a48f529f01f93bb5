"""`manor push`: the command line of a delivery. What happens then is `manor.delivery.push`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError
from manor.config.units import parse_duration, parse_size
from manor.delivery.display import open_display
from manor.delivery.errors import NotSupported
from manor.delivery.push import DEFAULT_URL, PushOptions, push, read_token
from manor.delivery.push_plan import Wait
from manor.delivery.rsync import DEFAULT_RSH, DEFAULT_USER, Transport

DEFAULT_TOKEN_FILE: Final = Path("~/.config/manor/token")
PARALLEL_MAX: Final = 64
INTERRUPTED: Final = 130

EPILOG: Final = """exit status: 0 all wanted nodes have it; 1 some have not; 2 usage; 3 no connection; 5 not authorised;
7 the image is malformed; 8 the name exists with other contents"""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    display = None
    try:
        options = _options(arguments)
        display = open_display(as_json=arguments.json)
        return push(options, display)
    except ManorError as error:
        print(f"manor push: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("manor push: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED
    finally:
        if display is not None:
            display.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="manor push", description="Deliver an image to nodes.", epilog=EPILOG)
    add = parser.add_argument
    add("image", metavar="IMAGE", type=Path, help="a directory, or `.vagga/NAME`")
    add("--sandbox", required=True, metavar="S", help="lithos sandbox whose image directory gets it")
    add("--name", metavar="N", help="name on the nodes (default: of a vagga image its NAME.HASH)")
    add("--nodes", metavar="HOST,...", type=_words, default=(), help="who must have it (default: all with the sandbox)")
    add("--role", metavar="R", help="whose metadata it is; without --nodes also: nodes eligible for a daemon of R")
    add("--url", metavar="URL", default=DEFAULT_URL, help="any node (default: %(default)s)")
    add("--token-file", metavar="F", type=Path, help=f"a token with the role deployer (default: {DEFAULT_TOKEN_FILE})")
    add(
        "--method", choices=("auto", "rsync", "p2p"), default="auto", help="how the bytes travel (default: %(default)s)"
    )
    add("--metadata", metavar="FILE", type=Path, help="runtime metadata to deliver last; needs --role and --version")
    add("--version", metavar="V", help="the version the metadata describes")
    add("--wait", choices=("all", "majority", "none"), default="all", help="when to return (default: %(default)s)")
    add("--timeout", metavar="D", type=_duration, default=1800.0, help="for everything (default: 30m)")
    add("--ssh-user", metavar="USER", default=DEFAULT_USER, help="(default: %(default)s)")
    add("--ssh-option", metavar="OPTION", action="append", default=[], help="as ssh's -o; may be repeated")
    add("--rsh", metavar="COMMAND", default=DEFAULT_RSH, help="as rsync's -e (default: %(default)s)")
    add("--parallel", metavar="P", type=_parallel, default=8, help="nodes at a time (default: %(default)s)")
    add("--limit", metavar="RATE", type=_rate, help="bytes per second and node, such as 10Mi")
    add("--seeds", metavar="K", help="(not supported yet)")
    add("--sign", metavar="KEY", help="(not supported yet)")
    add("--config", metavar="KIND", help="(not supported yet)")
    add("--dry-run", action="store_true", help="only say what would be delivered where")
    add("--json", action="store_true", help="machine-readable progress, one object a line")
    return parser


def _options(arguments: argparse.Namespace) -> PushOptions:
    if arguments.method == "p2p":
        raise NotSupported("--method p2p")
    if arguments.wait == "none":
        raise NotSupported("--wait none")
    for option in ("seeds", "sign", "config"):
        if getattr(arguments, option) is not None:
            raise NotSupported(f"--{option}")
    transport = Transport(
        rsh=arguments.rsh,
        user=arguments.ssh_user,
        options=tuple(arguments.ssh_option),
        bytes_per_second=arguments.limit,
    )
    return PushOptions(
        image=arguments.image,
        sandbox=arguments.sandbox,
        name=arguments.name,
        nodes=arguments.nodes,
        url=arguments.url,
        token=read_token(arguments.token_file, Path(os.path.expanduser(DEFAULT_TOKEN_FILE))),
        transport=transport,
        parallel=arguments.parallel,
        wait=Wait(arguments.wait),
        timeout_s=arguments.timeout,
        role=arguments.role,
        version=arguments.version,
        metadata=arguments.metadata,
        dry_run=arguments.dry_run,
    )


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"`{text}` names no nodes; `HOST,HOST` would be right")
    return words


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> int:
    try:
        rate = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if rate <= 0:
        raise argparse.ArgumentTypeError("a rate above 0 would be right")
    return rate


def _parallel(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PARALLEL_MAX:
        raise argparse.ArgumentTypeError(f"a number from 1 to {PARALLEL_MAX} would be right")
    return int(text)
