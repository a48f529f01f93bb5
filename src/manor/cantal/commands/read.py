"""`cantal [FILE_OR_PID...]`: print what files and processes publish. The oldest form of the command."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from manor import VERSION
from manor.cantal.commands.pair import ReadPair, Unreadable, pairs_of_file, pairs_of_process, read_pair

WATCHED_EVERY_S = 2.0
INTERVAL_S_MIN = 0.1

Counters = dict[tuple[str, str], int]  # by source and description


def main(arguments: Sequence[str]) -> int:
    options = parse_options(arguments)
    before: Counters = {}
    while True:
        began = time.monotonic()
        status, counters = print_all(options, before)
        if options.watch is None:
            return status
        before = counters
        sys.stdout.flush()
        time.sleep(options.watch)
        options.elapsed_s = time.monotonic() - began


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cantal", usage="cantal [-V] [--json] [--watch[=SECONDS]] [--strict] [FILE_OR_PID...]"
    )
    parser.add_argument("-V", "--version", action="version", version=f"cantal {VERSION}")
    parser.add_argument("--json", action="store_true", help="one object a line: source, key, kind, value")
    parser.add_argument(
        "--watch", nargs="?", type=_interval, const=WATCHED_EVERY_S, metavar="SECONDS", help="repeat, with rates"
    )
    parser.add_argument("--strict", action="store_true", help="fail on any defect of the files")
    parser.add_argument("sources", nargs="*", metavar="FILE_OR_PID")
    options = parser.parse_args(_with_equals(arguments))
    options.elapsed_s = None
    return options


def _with_equals(arguments: Sequence[str]) -> list[str]:
    """`--watch` takes a number only after `=`, so that a file may follow it."""
    return [f"--watch={WATCHED_EVERY_S}" if word == "--watch" else word for word in arguments]


def _interval(text: str) -> float:
    seconds = float(text)
    if not seconds >= INTERVAL_S_MIN:
        raise argparse.ArgumentTypeError(f"{text}: at least {INTERVAL_S_MIN} seconds are needed")
    return seconds


def print_all(options: argparse.Namespace, before: Counters) -> tuple[int, Counters]:
    """Everything once; the failure of one source does not keep the others from being shown."""
    status = 0
    counters: Counters = {}
    for source in options.sources:
        try:
            for pair in read_source(source):
                print_pair(source, pair, options, before, counters)
                if options.strict and pair.defects:
                    for defect in pair.defects:
                        print(f"cantal: {source}: line {defect.line}: {defect.text}", file=sys.stderr)
                    status = 1
        except Unreadable as error:
            print(f"cantal: {error}", file=sys.stderr)
            status = 1
    return status, counters


def read_source(source: str) -> list[ReadPair]:
    if os.path.isfile(source):
        return [read_pair(*paths) for paths in pairs_of_file(source)]
    if not (source.isascii() and source.isdigit()):
        raise Unreadable(f"{source}: no such file; a .values file or a pid is expected")
    pid = int(source)
    found = pairs_of_process(pid)
    return [read_pair(*paths, root=f"/proc/{pid}/root") for paths in found]


def print_pair(source: str, pair: ReadPair, options: argparse.Namespace, before: Counters, counters: Counters) -> None:
    for one in pair.values:
        rate = None
        if one.kind == "Counter":
            counters[source, one.text] = one.value
            old = before.get((source, one.text))
            if old is not None and options.elapsed_s:
                rate = max(0, one.value - old) / options.elapsed_s
        if options.json:
            row = {"source": source, "key": json.loads(one.text), "kind": one.kind, "value": one.value}
            print(json.dumps(row if rate is None else {**row, "rate": rate}, ensure_ascii=False))
        else:
            print(f"{source}: {one}" + (f" {rate:.1f}/s" if rate is not None else ""))
