"""lithos_tree: keep this machine's containers running. Start reading here.

options and master.yaml -> child subreaper -> directories, logs, runtime -> lock -> cgroup
-> what is wanted (configured.py) and what lives (living.py) -> the loop (master.py)
-> stopped: take everything away      -> restart: execute this program again, which begins at the top
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from manor.lithos.commands.options import add_config, guarded, log_level, parser

PROCESS_NAME = "lithos_tree"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    return guarded(PROCESS_NAME, lambda: run(options))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(PROCESS_NAME, "Keep the containers of this machine running, as the files under /etc/lithos say.")
    add_config(made, "-C", "--config")
    made.add_argument("--log-stderr", action="store_true", help="copy the log to stderr")
    made.add_argument("--log-level", type=log_level, metavar="LEVEL", help="instead of `log-level` of all files")
    return made.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    """One life of the master: until a clean stop, or until it executes itself again."""
    from manor.lithos.signals import block_signals

    block_signals()  # a stop that comes while we still begin must stop the containers too
    from manor.lithos.errors import Fatal
    from manor.lithos.life import Life, read_master_config

    try:
        config, places = read_master_config(options.config)
        execute_with_metrics_path(places.metrics)
        life = Life(config, places, log_stderr=options.log_stderr, log_level=options.log_level)
        if not life.live():
            return 0
        life.prepare_execution()
        execute_again(os.environ)
    except Fatal:
        raise
    except OSError as error:
        raise Fatal(f"{error.filename or PROCESS_NAME}: {error.strerror}") from error


def execute_with_metrics_path(path: Path) -> None:
    """cantal finds metrics by the environment a process began with, so one that lacks the variable begins again."""
    if "CANTAL_PATH" not in os.environ:
        execute_again({**os.environ, "CANTAL_PATH": str(path)})


def execute_again(environ: Mapping[str, str]) -> NoReturn:
    """The same interpreter, arguments and process: children stay ours, descriptors made inheritable stay open."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
