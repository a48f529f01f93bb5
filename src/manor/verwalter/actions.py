"""What operators and programs ask of the scheduler: registered on the leader, given to rounds, answered once.

A table without I/O: whoever waits for an answer gave a callback. An action is part of every round's input until a round
succeeds; then it is gone, answered or not. With the leadership everything pending is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from manor.config.errors import ManorError

PENDING_MAX: Final = 1_000


class TooManyActions(ManorError):
    """1000 actions wait for a round that succeeds; look at the scheduler's error first"""


class Ending(Enum):
    ANSWERED = "answered"
    UNANSWERED = "unanswered"  # a round succeeded and said nothing
    LOST = "lost"  # the leadership ended


@dataclass(frozen=True, slots=True)
class Answer:
    ending: Ending
    value: Any = None


@dataclass(slots=True)
class _Pending:
    document: Any
    waiting: list[Callable[[Answer], None]] = field(default_factory=list)


class PendingActions:
    """The actions of one leadership."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0

    def register(self, document: Any, now_ms: int) -> int:
        """The id of the action: its time of arrival, or the next free number. Raises TooManyActions."""
        if len(self._pending) >= PENDING_MAX:
            raise TooManyActions(
                f"{PENDING_MAX} actions wait for a round that succeeds; look at the scheduler's error first"
            )
        self._last_id = max(self._last_id + 1, now_ms)
        self._pending[self._last_id] = _Pending(document)
        return self._last_id

    def wait(self, id: int, tell: Callable[[Answer], None]) -> None:
        """`tell` is called once, when the fate of a pending action is known."""
        self._pending[id].waiting.append(tell)

    def is_pending(self, id: int) -> bool:
        return id in self._pending

    def documents(self) -> dict[str, Any]:
        """For a round and for people, in the order of arrival."""
        return {str(id): self._pending[id].document for id in sorted(self._pending)}

    def succeeded(self, given: Mapping[str, Any], answers: Mapping[str, Any]) -> tuple[str, ...]:
        """A round that was given these actions succeeded. Returns ids that were answered but never asked."""
        for key in given:
            pending = self._pending.pop(int(key), None)
            if pending is not None:
                answered = key in answers
                answer = Answer(Ending.ANSWERED, answers[key]) if answered else Answer(Ending.UNANSWERED)
                _tell(pending, answer)
        return tuple(sorted(answers.keys() - given.keys()))

    def lose_all(self) -> tuple[str, ...]:
        """The leadership ended; returns what was lost."""
        lost = tuple(map(str, sorted(self._pending)))
        pending, self._pending = self._pending, {}
        for entry in pending.values():
            _tell(entry, Answer(Ending.LOST))
        return lost


def _tell(pending: _Pending, answer: Answer) -> None:
    for tell in pending.waiting:
        tell(answer)
