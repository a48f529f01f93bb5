"""vagga: what does my program need to run? Start reading here.

Words in, exit status out: parse the flags, find the command, run it, and turn errors into one line and a status.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from manor.config.errors import ConfigError, ManorError
from manor.vagga import command_line

if TYPE_CHECKING:
    from manor.vagga.command_line import Flags

DEFECT = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Run vagga; the exit statuses are a table in the reference."""
    stdio = _held_descriptors()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv), stdio)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 126
    except ManorError as error:
        print(f"vagga: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("vagga: interrupted", file=sys.stderr)
        return 130
    except _Terminated:
        print("vagga: interrupted", file=sys.stderr)
        return 143
    except BrokenPipeError:  # nobody reads our output any more: end as a program without a handler would
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except OSError as error:
        names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
        print(f"vagga: {names}: {error.strerror}", file=sys.stderr)
        return 121
    except Exception as error:
        if os.environ.get("VAGGA_LOG") in ("debug", "trace"):
            raise
        print(f"vagga: defect: {type(error).__name__}: {error}; VAGGA_LOG=debug shows where", file=sys.stderr)
        return DEFECT


class _Terminated(BaseException):
    """SIGTERM while nothing of a command runs."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _held_descriptors() -> tuple[int | None, int | None, int | None]:
    """Descriptors 0 to 2; a closed one is None, and its number is taken so that nothing else gets it."""
    result: list[int | None] = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
            result.append(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
            result.append(None)
    return result[0], result[1], result[2]


def _run(words: list[str], stdio: tuple[int | None, int | None, int | None]) -> int:
    flags, rest = command_line.parse(words)
    if "version" in flags:
        from manor import VERSION
        from manor.vagga.minimum_version import FORMAT_VERSION

        print(f"vagga {FORMAT_VERSION} (manor {VERSION})")
        return 0
    if "help" in flags:
        print(command_line.USAGE + command_line.HELP, end="")
        return 0
    _set_progress(flags)
    signal.signal(signal.SIGTERM, _terminate)

    from manor.vagga.session import Session

    session = Session(flags, stdio)
    if not rest:
        from manor.vagga.listing import overview

        print(overview(session.entries()), end="", file=sys.stderr)
        return 127
    if "run_multi" not in flags and rest[0].startswith("_"):
        from manor.vagga.commands.table import BUILT_IN, find_built_in

        if rest[0] in BUILT_IN:
            return find_built_in(rest[0])(session, rest[1:])

    from manor.vagga.commands.user import run_commands

    return run_commands(session, rest)


def _set_progress(flags: Flags) -> None:
    """Told to the build by the environment, which reaches the processes that do it."""
    mode = flags.progress[-1] if flags.progress else "auto"
    os.environ["VAGGA_PROGRESS"] = "quiet" if mode == "quiet" or "quiet" in flags else mode
