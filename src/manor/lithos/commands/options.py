"""Options that several commands have, and how their usage errors look."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from manor import VERSION
from manor.config.errors import ManorError
from manor.lithos.errors import Fatal
from manor.lithos.files.master import DEFAULT_MASTER_CONFIG
from manor.lithos.logs import level_number


def parser(program: str, description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    made.add_argument("--version", action="version", version=VERSION)
    return made


def add_config(made: argparse.ArgumentParser, *names: str) -> None:
    made.add_argument(
        *names,
        dest="config",
        type=Path,
        default=DEFAULT_MASTER_CONFIG,
        metavar="FILE",
        help=f"master config, {DEFAULT_MASTER_CONFIG} if not given",
    )


def log_level(text: str) -> str:
    """The type of --log-level."""
    try:
        level_number(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no log level; write error, warn, info, debug or trace") from None
    return text


def guarded(program: str, work: Callable[[], int]) -> int:
    """Run a command; an expected failure becomes a line on stderr and an exit status."""
    try:
        return work()
    except Fatal as error:
        print(f"Fatal error: {error}", file=sys.stderr)
        return error.exit_status
    except ManorError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return 1  # whoever read our output has had enough
    except KeyboardInterrupt:
        return 130
