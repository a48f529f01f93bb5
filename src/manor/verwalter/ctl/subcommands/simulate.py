"""`simulate election`: many minutes of an election among made-up nodes in a bad network, in seconds."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.errors import BadUsage, NotSupported, ProblemsFound
from manor.verwalter.ctl.session import Session

NODES_MAX = 1_000
LINES_BEFORE_A_PROBLEM = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("election", "policy"))
    parser.add_argument("directory", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, default=5, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of virtual time")
    parser.add_argument("--scenario", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--cluster", metavar="FILE", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from manor.verwalter.election import scenario, simulation

    if arguments.what == "policy":
        raise NotSupported("simulate policy")
    if arguments.scenario is not None:
        raise NotSupported("simulate election --scenario")
    if not 1 <= arguments.nodes <= NODES_MAX or not 0 < arguments.minutes <= 1440:
        raise BadUsage(f"--nodes from 1 to {NODES_MAX} and --minutes up to 1440 would be right")
    trouble = scenario.storm(arguments.nodes, arguments.seed, minutes=arguments.minutes)
    outcome = simulation.run(arguments.nodes, arguments.seed, trouble, arguments.minutes)
    problems = [str(problem) for problem in outcome.problems]
    if session.json:
        session.print_json({"nodes": outcome.nodes, "seed": outcome.seed, "minutes": outcome.minutes,
                            "problems": problems, "leader_changes": outcome.leader_changes,
                            "packets": outcome.packets, "settled_s": outcome.settled_s})  # fmt: skip
    else:
        print(
            f"{outcome.nodes} nodes, seed {outcome.seed}, {outcome.minutes:g} minutes: "
            f"{outcome.leader_changes} changes of leader, {outcome.packets} packets, {len(problems)} problems"
        )
        if problems:
            print("\n".join(outcome.transcript[-LINES_BEFORE_A_PROBLEM:]))
    if problems:
        raise ProblemsFound("\n".join(problems))
    return 0
