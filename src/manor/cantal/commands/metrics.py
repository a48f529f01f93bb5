"""`cantal metrics [NAME=VALUE...]`."""

from __future__ import annotations

import argparse
from typing import Any

from manor.cantal.commands.agent import Agent, add_agent_arguments
from manor.cantal.commands.shown import key, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_agent_arguments(parser)
    parser.add_argument(
        "match", nargs="*", type=condition, metavar="NAME=VALUE", help="NAME~=PATTERN for a regular expression"
    )


def condition(word: str) -> list[str]:
    """`metric=rss` or `metric~=^cpu` as a condition of a rule."""
    name, equals, text = word.partition("=")
    if not equals or not name.rstrip("~"):
        raise argparse.ArgumentTypeError(f"{word}: NAME=VALUE or NAME~=PATTERN is expected")
    return ["RegexLike", name[:-1], text] if name.endswith("~") else ["Eq", name, text]


def run(options: argparse.Namespace) -> int:
    meant: list[Any] = ["All"]
    for one in options.match:
        meant = one if meant == ["All"] else ["And", meant, one]
    rules = {name: {"series": {"source": source, "condition": meant}} for name, source in (("n", "Fine"), ("s", "Tip"))}
    values = Agent(options).post("/query.json", {"rules": rules})["values"]
    tips = [*values["s"]["tips"], *values["n"]["tips"]]
    if options.json:
        print_json(tips)
    else:
        for tip in tips:
            print(f"{key(tip['key'])} {shown(tip)}")
    return 0


def shown(tip: dict[str, Any]) -> str:
    if tip["kind"] == "State":
        return f"{tip['value']['text']!r} since {tip['value']['since']}" if tip["value"]["since"] else "idle"
    return str(tip["value"])
