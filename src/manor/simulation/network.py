"""A deterministic world for sans-IO cores: one virtual clock, one seeded generator, a network that may misbehave.

Theory of operation. Everything that will happen is an entry of one heap, ordered by virtual time and then by the
order of its making, so equal seeds give equal histories. A node is told `receive(message, source, now)` and
`tick(now)`; whatever these return is handed to the `perform` function its owner gave, which calls `send` for what
is to travel. Messages are objects, never bytes: a codec is tested apart. Nothing here reads a clock or a global
random number.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

Address = TypeVar("Address", bound=Any)


class Core(Protocol):
    """What a simulated node must be able to do. The actions are of the protocol's own kinds."""

    def receive(self, message: Any, source: Any, now: float) -> Iterable[Any]: ...

    def tick(self, now: float) -> Iterable[Any]: ...


@dataclass(slots=True)
class Weather:
    """How the network treats a packet; one per network, overridden per direction by `Network.set_weather`."""

    delay_s: tuple[float, float] = (0.001, 0.001)  # uniform between the two, per packet
    loss: float = 0.0  # probability 0..1
    duplication: float = 0.0  # probability 0..1 of a second copy with its own delay


class Clock:
    """Virtual seconds since the start of the simulation, and everything that is going to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        # Plain tuples: with thousands of nodes the heap is where the time goes, and tuples compare in C.
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, run: Callable[[], None]) -> None:
        """Run something at a moment; what lies in the past runs next."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._order), run))

    def after(self, delay_s: float, run: Callable[[], None]) -> None:
        self.at(self.now + delay_s, run)

    def run_until(self, moment: float) -> None:
        """Let time pass up to and including the moment."""
        while self._events and self._events[0][0] <= moment:
            self.now, _, run = heapq.heappop(self._events)
            run()
        self.now = max(self.now, moment)


class Network(Generic[Address]):
    """Carries messages between addresses with seeded delay, loss, duplication, cuts and partitions."""

    def __init__(self, clock: Clock, rng: random.Random, weather: Weather | None = None) -> None:
        self.clock = clock
        self.rng = rng
        self.weather = weather or Weather()
        self.sent = 0  # packets handed to `send`, delivered or not
        self.delivered = 0
        self._receivers: dict[Address, Callable[[Any, Address], None]] = {}
        self._directed: dict[tuple[Address, Address], Weather] = {}
        self._cuts: set[tuple[Address, Address]] = set()
        self._side: dict[Address, int] = {}

    def attach(self, address: Address, receiver: Callable[[Any, Address], None]) -> None:
        """From now on packets for the address go to `receiver(message, source)`."""
        self._receivers[address] = receiver

    def detach(self, address: Address) -> None:
        """Packets for the address are lost from now on, those under way included."""
        self._receivers.pop(address, None)

    def set_weather(self, source: Address, target: Address, weather: Weather | None) -> None:
        """Another weather for one direction; None takes it away."""
        if weather is None:
            self._directed.pop((source, target), None)
        else:
            self._directed[source, target] = weather

    def cut(self, source: Address, target: Address) -> None:
        """Drop everything from source to target; the other direction goes on."""
        self._cuts.add((source, target))

    def mend(self, source: Address, target: Address) -> None:
        self._cuts.discard((source, target))

    def split(self, *sides: Iterable[Address]) -> None:
        """Partition: addresses of different sides do not reach each other. Addresses in no side form one more."""
        self._side = {address: number for number, side in enumerate(sides, 1) for address in side}

    def heal(self) -> None:
        """No more cuts and partitions; weather stays."""
        self._side.clear()
        self._cuts.clear()

    def reaches(self, source: Address, target: Address) -> bool:
        """Whether a packet sent now would travel, loss aside."""
        return (source, target) not in self._cuts and self._side.get(source, 0) == self._side.get(target, 0)

    def send(self, source: Address, target: Address, message: Any) -> None:
        """Put one message on the wire. The generator is used the same number of times whether it arrives or not
        only within one weather: a history is reproducible by seed, not comparable between weathers."""
        self.sent += 1
        weather = self._directed.get((source, target), self.weather)
        if not self.reaches(source, target):
            return
        if weather.loss and self.rng.random() < weather.loss:
            return
        copies = 2 if weather.duplication and self.rng.random() < weather.duplication else 1
        low, high = weather.delay_s
        for _ in range(copies):
            delay_s = low if low == high else self.rng.uniform(low, high)
            self.clock.after(delay_s, partial(self._deliver, source, target, message))

    def _deliver(self, source: Address, target: Address, message: Any) -> None:
        receiver = self._receivers.get(target)
        if receiver is not None and self.reaches(source, target):
            self.delivered += 1
            receiver(message, source)
