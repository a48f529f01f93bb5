"""`cantal check PATH`."""

from __future__ import annotations

import argparse
import os

from manor.cantal.commands.pair import Unreadable, read_pair
from manor.cantal.commands.shown import print_json
from manor.cantal.values import pair_paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the path published under, or one of the two files")
    parser.add_argument("--json", action="store_true", help="a list of {line, defect}")


def run(options: argparse.Namespace) -> int:
    meta, values = pair_paths(options.path.removesuffix(".meta").removesuffix(".values"))
    try:
        defects = read_pair(os.path.abspath(meta), os.path.abspath(values)).defects
    except Unreadable as error:
        if not options.json:
            raise
        print_json([{"line": None, "defect": str(error)}])
        return 1
    if options.json:
        print_json([{"line": defect.line, "defect": defect.text} for defect in defects])
    else:
        for defect in defects:
            print(f"{meta}:{defect.line}: {defect.text}")
    return 1 if defects else 0
