"""`action`: push any document to the scheduler."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from manor.verwalter.ctl.errors import BadUsage
from manor.verwalter.ctl.pushing import print_answer
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", metavar="JSON|@FILE", help="the action, an object")
    parser.add_argument("--wait", action="store_true", help="wait for the scheduler's answer")


def run(arguments: argparse.Namespace, session: Session) -> int:
    document = read_document(arguments.document)
    if arguments.wait:
        print_answer(session, session.client.post("wait_action", document))
        return 0
    answer = session.client.post("action", document)
    if session.json:
        session.print_json(answer)
    else:
        print(f"registered as {answer['registered']}")
    return 0


def read_document(word: str) -> dict[str, Any]:
    """Raises BadUsage."""
    try:
        text = Path(word[1:]).read_text() if word.startswith("@") else word
        document = json.loads(text)
    except OSError as error:
        raise BadUsage(f"{word[1:]}: {error.strerror}") from error
    except ValueError as error:
        raise BadUsage(f"the action is no JSON: {error}; write an object, or @FILE") from error
    if not isinstance(document, dict):
        raise BadUsage(
            'the action is no object; such as {"button": {"role": "site", "action": "scale"}} would be right'
        )
    return document
