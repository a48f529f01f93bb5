"""`cantal query FILE|-`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import print_json
from manor.config.errors import ManorError


class BadDocument(ManorError):
    """rules.json:3:7: expecting ',' delimiter; a query document in JSON is expected"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)
    parser.add_argument("file", metavar="FILE", help="query document in JSON; `-` for standard input")
    parser.add_argument("--remote", action="store_true", help="ask the whole cluster")
    parser.add_argument("--wait", type=int, default=5000, metavar="MS", help="for the other nodes (default 5000)")


def run(options: argparse.Namespace) -> int:
    document = read_document(options.file)
    path = f"/remote/query.json?wait={options.wait}" if options.remote else "/query.json"
    print_json(Agent(options).post(path, document, timeout_s=15 + options.wait / 1000))
    return 0


def read_document(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDocument(
            f"{file}: {getattr(error, 'strerror', None) or error}; a readable file is expected"
        ) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{file}:{error.lineno}:{error.colno}"
        raise BadDocument(f"{place}: {error.msg.lower()}; a query document in JSON is expected") from error
