"""lithos_ps: what runs on this machine, as a tree, a table that refreshes itself, or JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manor.lithos.commands.options import guarded, parser

PROGRAM = "lithos_ps"
REFRESH_S: Final = 1.0
CLEAR: Final = "\x1b[H\x1b[J"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    return guarded(PROGRAM, lambda: run(options))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(PROGRAM, "Show the containers of this machine and what they use.")
    made.add_argument("-C", "--config", type=Path, metavar="FILE", help="only the master with this config")
    form = made.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--monitor", "--watch", dest="monitor", action="store_true", help="a table, until interrupted")
    form.add_argument("--pid", metavar="NAME", help="print the pid of the main process of instance NAME")
    colour = made.add_mutually_exclusive_group()
    colour.add_argument("--force-color", dest="color", action="store_true", default=None)
    colour.add_argument("--no-color", dest="color", action="store_false")
    return made.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    from manor.lithos.processes_shown.scan import scan
    from manor.lithos.processes_shown.text import Paint, json_document, tree_lines

    try:
        if options.monitor:
            return _monitor(options.config)
        trees = scan(options.config)
    except OSError as error:
        print(f"{PROGRAM}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if options.pid is not None:
        for one in (one for tree in trees for one in tree.instances):
            if str(one.name) == options.pid and one.main_pid is not None and one.heads:
                print(one.main_pid)
                return 0
        print(f"{PROGRAM}: {options.pid} is not running", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(json_document(trees)))
        return 0
    paint = Paint(on=sys.stdout.isatty() if options.color is None else options.color)
    for tree in trees:
        for line in tree_lines(tree, paint, time.time()):
            print(line)
    return 0


def _monitor(config: Path | None) -> int:
    from manor.lithos.processes_shown.scan import scan
    from manor.lithos.processes_shown.text import table

    ticks: dict[int, int] = {}
    read_at = time.monotonic()
    while True:
        trees, now = scan(config), time.monotonic()
        lines, ticks = table(trees, ticks, now - read_at)
        read_at = now
        if sys.stdout.isatty():
            print(CLEAR, end="")
        print("\n".join(lines), flush=True)
        time.sleep(REFRESH_S)


if __name__ == "__main__":
    sys.exit(main())
