"""`cantal add-host ADDR`."""

from __future__ import annotations

import argparse

from manor.cantal.commands.agent import TIMEOUT_S, Agent, add_agent_arguments
from manor.cantal.commands.shown import print_json

WAIT_S_MAX = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)
    parser.add_argument("addr", metavar="ADDR", help="HOST[:PORT] of the other agent")
    parser.add_argument("--wait", type=_seconds, default=5.0, metavar="SECONDS", help="for its answer (default 5)")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"{text}: 0 to {WAIT_S_MAX} seconds are allowed")
    return value


def run(options: argparse.Namespace) -> int:
    body = {"addr": options.addr, "wait": round(options.wait * 1000)}
    answer = Agent(options).post("/add_host.json", body, timeout_s=TIMEOUT_S + options.wait)
    if options.json:
        print_json(answer)
    else:
        print(f"{options.addr}: {answer.get('state', 'accepted')} {answer.get('id') or ''}".rstrip())
    return 1 if answer.get("state") == "unanswered" else 0
