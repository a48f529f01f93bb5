"""Pushing an action of a role and waiting for the scheduler's answer."""

from __future__ import annotations

import re
from typing import Any

from manor.verwalter.ctl.errors import CtlFailed, NotFound
from manor.verwalter.ctl.session import Session


def push_button(session: Session, role: str, action: str, **fields: Any) -> int:
    """Push `{"button": …}`, print the answer. Raises CtlFailed if it was refused, NotFound for an unknown name."""
    button = {"role": role, "action": action} | {name: value for name, value in fields.items() if value is not None}
    print_answer(session, session.client.post("wait_action", {"button": button}))
    return 0


def print_answer(session: Session, answer: Any) -> None:
    """What the scheduler said; None if it said nothing. Raises CtlFailed, NotFound for a refusal."""
    refusal = answer.get("error") if isinstance(answer, dict) and answer.get("ok") is False else None
    if session.json:
        session.print_json(answer)
    if refusal is not None:
        kind = NotFound if re.match(r"unknown (role|version|node|daemon)\b", str(refusal)) else CtlFailed
        raise kind(f"refused: {refusal}")
    if not session.json:
        told = answer.get("message") if isinstance(answer, dict) else answer
        print(told or "done; the scheduler did not answer")
