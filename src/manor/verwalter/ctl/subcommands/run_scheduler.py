"""`run-scheduler`: run a scheduler once on an input document; nothing is changed anywhere."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from manor.verwalter.ctl.errors import BadUsage, NotSupported, ProblemsFound
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="of the scheduler, such as /etc/verwalter/scheduler/v1"
    )
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="as /v1/scheduler_input gives it")
    parser.add_argument("--query-metrics", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from manor.verwalter.schedule import BadSchedule, hash_of, take_apart
    from manor.verwalter.worker.engines import SchedulerFailed, SchedulerLoadFailed, checked, load

    if arguments.query_metrics:
        raise NotSupported("run-scheduler --query-metrics")
    document = read_input(arguments.input)
    try:
        result, log, answers = checked(load(arguments.directory).run(document))
        outcome = take_apart(result)
        hash = hash_of(outcome.data)
    except (SchedulerLoadFailed, SchedulerFailed, BadSchedule) as error:
        raise ProblemsFound(str(error)) from error
    except Exception as error:  # the scheduler is somebody's program: whatever it raises is its own
        raise ProblemsFound(f"scheduler raised {type(error).__name__}: {error}") from error
    if session.json:
        session.print_json(
            {"hash": hash, "schedule": outcome.data, "changes": outcome.changes, "log": log, "actions": answers}
        )
    else:
        session.print_json(outcome.data)
        print(f"hash: {hash}\n{log}".rstrip(), file=sys.stderr)
    if outcome.misshapen:
        raise ProblemsFound("\n".join(outcome.misshapen))
    return 0


def read_input(file: Path) -> dict[str, Any]:
    """Raises BadUsage."""
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise BadUsage(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BadUsage(f"{file}: no JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadUsage(f"{file}: an object, as /v1/scheduler_input gives it, would be right")
    return document
