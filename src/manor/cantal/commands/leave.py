"""`cantal leave`."""

from __future__ import annotations

import argparse

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)


def run(options: argparse.Namespace) -> int:
    answer = Agent(options).post("/leave.json", {})
    if options.json:
        print_json(answer)
    return 0
