"""What happens to a simulated cluster: single events, and storms drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from manor.verwalter.election.numbers import ElectionNumbers
from manor.verwalter.membership import Rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    at_s: float
    sides: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heal:
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    at_s: float
    source: str
    target: str
    one_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    at_s: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    at_s: float
    range_s: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    at_s: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    at_s: float
    nodes: tuple[str, ...]
    with_file: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJump:
    at_s: float
    node: str
    by_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    at_s: float
    node: str
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The node's cantal does not answer."""

    at_s: float
    node: str
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flap:
    """The node is cut off and comes back, each for `every_s`."""

    at_s: float
    node: str
    every_s: float
    until_s: float = float("inf")


Event = Split | Heal | Cut | Loss | Delay | Crash | Restart | ClockJump | Stall | Stale | Flap


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    events: tuple[Event, ...] = ()
    rights: Rights = field(default_factory=Rights)
    numbers: ElectionNumbers = field(default_factory=ElectionNumbers)
    delay_s: tuple[float, float] = (0.001, 0.02)
    loss: float = 0.0
    duplication: float = 0.0

    def names(self) -> set[str]:
        """Every node an event names."""
        found: set[str] = set()
        for event in self.events:
            match event:
                case Split(sides=sides):
                    found.update(name for side in sides for name in side)
                case Cut(source=source, target=target):
                    found.update((source, target))
                case Crash(nodes=nodes) | Restart(nodes=nodes):
                    found.update(nodes)
                case ClockJump(node=node) | Stall(node=node) | Stale(node=node) | Flap(node=node):
                    found.add(node)
        return found


def storm(nodes: int, seed: int, *, minutes: float, rights: Rights | None = None, loss_max: float = 0.1) -> Scenario:
    """Everything at once, drawn from the seed: splits, cuts, crashes, stalls, clocks; the last two minutes are calm."""
    rng = random.Random(f"storm {seed}")
    names = [f"n{number}" for number in range(1, nodes + 1)]
    events: list[Event] = []
    at_s = 20.0
    end_s = minutes * 60 - 120.0
    while at_s < end_s:
        events.extend(_trouble(rng, names, at_s))
        at_s += rng.uniform(1.0, 60.0)
    events.append(Heal(at_s=end_s))
    events.append(Restart(at_s=end_s, nodes=tuple(names)))  # those who are up already do not notice
    low_s = rng.choice((0.0005, 0.005))
    return Scenario(
        events=tuple(events),
        rights=rights or Rights(),
        delay_s=(low_s, low_s * rng.choice((1.0, 10.0, 40.0))),
        loss=rng.choice((0.0, loss_max / 10, loss_max)),
        duplication=rng.choice((0.0, 0.05)),
    )


def _trouble(rng: random.Random, names: Sequence[str], at_s: float) -> list[Event]:
    """One disturbance, with its end where it has one."""
    one, other = rng.sample(list(names), 2) if len(names) > 1 else (names[0], names[0])
    kind = rng.choice(("split", "heal", "cut", "crash", "restart", "clock", "stall", "stale", "bounce"))
    match kind:
        case "split":
            mixed = rng.sample(list(names), len(names))
            middle = rng.randint(1, max(1, len(names) - 1))
            return [Split(at_s=at_s, sides=(tuple(mixed[:middle]), tuple(mixed[middle:])))]
        case "heal":
            return [Heal(at_s=at_s)]
        case "cut":
            return [Cut(at_s=at_s, source=one, target=other, one_way=rng.random() < 0.5)]
        case "crash":
            return [Crash(at_s=at_s, nodes=(one,))]
        case "restart":
            return [Restart(at_s=at_s, nodes=tuple(names), with_file=True)]
        case "clock":
            return [ClockJump(at_s=at_s, node=one, by_s=rng.choice((-3600.0, 3600.0, 30.0)))]
        case "stall":
            return [Stall(at_s=at_s, node=one, for_s=rng.uniform(0.2, 15.0))]
        case "stale":
            return [Stale(at_s=at_s, node=one, for_s=rng.uniform(1.0, 30.0))]
        case _:
            back_s = at_s + rng.uniform(0.1, 5.0)
            with_file = rng.random() < 0.7
            return [Crash(at_s=at_s, nodes=(one,)), Restart(at_s=back_s, nodes=(one,), with_file=with_file)]
