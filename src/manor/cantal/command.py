"""cantal: read what programs publish, and ask an agent. Start reading here.

Without a known word in first place it is the reader of `.values` files and processes that it has always been
(`commands/read.py`); a path that is named like a word needs a `/` in it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from manor import VERSION
from manor.config.errors import ManorError

WORDS: Final = {
    "status": "summary of the agent's state",
    "peers": "the members of the cluster as this agent sees them",
    "add-host": "introduce this agent to another one",
    "forget": "forget a dead or left member everywhere",
    "leave": "take this node out of the cluster until the agent is restarted",
    "metrics": "newest values of the series that match NAME=VALUE or NAME~=PATTERN",
    "query": "post a query document, print the result",
    "top": "processes or control groups by CPU and memory",
    "check": "validate a pair of .meta and .values files",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed or the agent said no, 2 usage, 3 agent unreachable, 5 not authorised."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["--help"]:
            _print_help()
            return 0
        if arguments[:1] and arguments[0] in WORDS:
            return _run_word(arguments[0], arguments[1:])
        from manor.cantal.commands import read

        return read.main(arguments)
    except ManorError as error:
        print(f"cantal: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run_word(word: str, arguments: list[str]) -> int:
    module = import_module(f"manor.cantal.commands.{word.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"cantal {word}", description=WORDS[word], allow_abbrev=False)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(arguments)))


def _print_help() -> None:
    print("usage: cantal [--json] [--watch[=SECONDS]] [--strict] [FILE_OR_PID...]\n       cantal WORD [OPTIONS]\n")
    print("Prints what programs publish: `SOURCE: DESCRIPTION VALUE`, a line each. Or asks an agent:\n")
    for word, what in WORDS.items():
        print(f"  {word:10} {what}")
    print(f"\n`cantal WORD --help` says more. cantal {VERSION}")
