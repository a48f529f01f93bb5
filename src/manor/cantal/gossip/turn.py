"""One call into the core: its moment, and what is to be done because of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias

from manor.cantal.gossip.messages import Action, Packet, Send
from manor.cantal.gossip.observations import Observation


@dataclass(slots=True)
class Turn:
    """`news` is set when something came up that others should hear at once."""

    now: float
    actions: list[Action] = field(default_factory=list)
    news: bool = False

    def send(self, address: str, packet: Packet) -> None:
        self.actions.append(Send(address, packet))

    def tell(self, action: Action) -> None:
        self.actions.append(action)


@dataclass(slots=True)
class Visit:
    """Whom a packet came from."""

    sender: bytes
    address: str
    seen: Observation


Timer: TypeAlias = Callable[[Any, Turn], None]


class Timers:
    """What is to happen later, soonest first. What became needless finds that out when its moment comes."""

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer, Any]] = []
        self._order = count()

    def at(self, moment: float, run: Timer, argument: Any = None) -> None:
        heappush(self._heap, (moment, next(self._order), run, argument))

    @property
    def next_at(self) -> float:
        return self._heap[0][0]

    def run_due(self, turn: Turn) -> None:
        heap = self._heap
        while heap[0][0] <= turn.now:
            _, _, run, argument = heappop(heap)
            run(argument, turn)
