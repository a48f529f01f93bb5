"""The umbrella command `manor`: what concerns more than one tool. A subcommand is one file, imported when it is called.

What belongs to one tool stays in that tool's commands.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

USAGE: Final = 2

SUBCOMMANDS: Final[Mapping[str, tuple[str, str]]] = {  # name -> module with `main(argv) -> int`, what it does
    "doctor": ("manor.cli.doctor", "check whether this machine has what manor needs"),
    "init": ("manor.cli.init", "make the cluster key, and limits of what templates may do here"),
    "push": ("manor.cli.push", "deliver an image to nodes"),
    "demo": ("manor.cluster.demo", "run a whole cluster on this machine"),
    "status": ("manor.cli.status", "show what the agents of this machine know"),
}


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    if words[0] == "--version":
        from manor import VERSION

        print(f"manor {VERSION}")
        return 0
    name, *rest = words
    if name not in SUBCOMMANDS:
        print(f"manor: unknown subcommand `{name}`; known are {', '.join(SUBCOMMANDS)}", file=sys.stderr)
        return USAGE
    status: int = import_module(SUBCOMMANDS[name][0]).main(rest)
    return status


def _help() -> str:
    lines = [f"  {name:<8} {what}" for name, (_module, what) in SUBCOMMANDS.items()]
    return "\n".join(["usage: manor SUBCOMMAND [OPTIONS]", "", *lines, "", "`manor SUBCOMMAND --help` says more."])
