"""python -m benchmarks [--small] [NAME...]"""

from __future__ import annotations

import argparse
import importlib
import platform
import sys

from benchmarks.measure import PeerMissing, Size

BENCHMARKS = (
    "vagga_warm_start",
    "lithos_restart",
    "cantal_scan",
    "cantal_history",
    "gossip_agents",
    "gossip_simulated",
    "verwalter_failover",
    "verwalter_round",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small input: shows that it works, not how fast")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default all")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(BENCHMARKS)}")
    size = Size.SMALL if options.small else Size.FULL
    print(f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, {size.value} input")
    failed = False
    for name in options.names or BENCHMARKS:
        print(f"\n{name}", flush=True)
        try:
            for row in importlib.import_module(f"benchmarks.{name}").run(size):
                print(f"  {row}", flush=True)
        except PeerMissing as missing:
            print(f"  not measured: {missing}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
