"""Which node gets which instances: keep what fits, take surplus away, place what is missing. Nothing moves for beauty.

Theory of operation. Daemons are placed one after another in the order the caller gives them, each in its slots. What
the round before placed is kept while its node is eligible and has room. Surplus goes first from nodes that may be
dying, then from the fullest; missing instances are put one by one on the node that has the least. Ties are broken by
a hash of role, daemon and host, so that small roles do not all sit on the first node.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manor.verwalter.scheduler.declaration import Daemon
from manor.verwalter.scheduler.nodes import Liveness, Node

Counts = dict[str, int]  # host name -> instances
Slots = dict[str, Counts]  # `a`, `b` -> counts


class Room:
    """What is used of every node's capacity in this round."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._used: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def fits(self, host: str, need: Mapping[str, float]) -> bool:
        capacity = self._nodes[host].capacity
        used = self._used[host]
        return all(used[key] + amount <= capacity[key] for key, amount in need.items() if key in capacity)

    def take(self, host: str, need: Mapping[str, float], count: int = 1) -> None:
        for key, amount in need.items():
            self._used[host][key] += amount * count

    def share(self, host: str) -> float:
        """Used share of the scarcest resource, 0.0 where nothing is limited."""
        capacity = self._nodes[host].capacity
        return max((self._used[host][key] / amount for key, amount in capacity.items() if amount > 0), default=0.0)


@dataclass(slots=True)
class Placed:
    """The result for one daemon."""

    slots: Slots
    unplaced: int = 0
    excluded: dict[str, str] = field(default_factory=dict)  # host name -> the rule that excludes it


@dataclass(slots=True)
class Budget:
    """How many instances may still be placed in this round; None is no limit."""

    left: int | None = None

    def spend(self) -> bool:
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0


def excluded_nodes(daemon: Daemon, nodes: Iterable[Node]) -> dict[str, str]:
    """Host name -> why nothing new may be placed there."""
    why = {}
    for node in nodes:
        if node.liveness is not Liveness.ALIVE:
            why[node.host] = node.liveness.value
        elif daemon.placement.require and not node.reported:
            why[node.host] = "no report yet, labels unknown"
        elif unmet := [expression for expression in daemon.placement.require if not node.satisfies((expression,))]:
            why[node.host] = f"require {unmet[0]}"
    return why


def may_keep(daemon: Daemon, node: Node) -> bool:
    """A node keeps what it has while it is not dead and does not break a rule as far as is known."""
    return node.liveness is not Liveness.DEAD and (not node.reported or node.satisfies(daemon.placement.require))


def tie_value(role: str, daemon: str, host: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{role}/{daemon}/{host}".encode()).digest()[:8], "big")


def place(
    role: str,
    name: str,
    daemon: Daemon,
    wanted: Mapping[str, int],
    before: Mapping[str, Mapping[str, int]],
    nodes: Mapping[str, Node],
    room: Room,
    need: Mapping[str, float],
    budget: Budget,
) -> Placed:
    """Place the instances of one daemon.

    Args:
        wanted: slot -> instances in the whole data centre.
        before: slot -> host name -> instances, of the round before.
        need: what one instance takes of the nodes' capacity.
    """
    ties = {host: tie_value(role, name, host) for host in nodes}
    result = Placed({slot: {} for slot in wanted}, excluded=excluded_nodes(daemon, nodes.values()))
    total: Counts = defaultdict(int)
    cap = daemon.placement.max_per_node

    for slot in wanted:
        for host, count in sorted(before.get(slot, {}).items()):
            if host not in nodes or not may_keep(daemon, nodes[host]):
                continue
            for _ in range(count):
                if (cap is None or total[host] < cap) and room.fits(host, need):
                    room.take(host, need)
                    total[host] += 1
                    result.slots[slot][host] = result.slots[slot].get(host, 0) + 1

    def spread_counts(host: str) -> tuple[int, ...]:
        return tuple(
            sum(count for other, count in total.items() if _same(label, nodes[host], nodes[other]))
            for label in daemon.placement.spread
        )

    for slot, count in wanted.items():
        here = result.slots[slot]
        while sum(here.values()) > count:
            victim = max(
                here,
                key=lambda host: (
                    nodes[host].liveness is Liveness.SUSPECT,
                    spread_counts(host)[:1],
                    total[host],
                    ties[host],
                ),
            )
            _remove(here, victim)
            total[victim] -= 1
            room.take(victim, need, -1)

    for slot, count in wanted.items():
        here = result.slots[slot]
        while sum(here.values()) < count:
            candidates = [
                host
                for host in nodes
                if host not in result.excluded and (cap is None or total[host] < cap) and room.fits(host, need)
            ]
            if not candidates or not budget.spend():
                result.unplaced += count - sum(here.values())
                break
            chosen = min(candidates, key=lambda host: (spread_counts(host), room.share(host), ties[host]))
            here[chosen] = here.get(chosen, 0) + 1
            total[chosen] += 1
            room.take(chosen, need)
    return result


def place_on_each(
    wanted: Mapping[str, Mapping[str, int]],
    nodes: Mapping[str, Node],
    room: Room,
    need: Mapping[str, float],
) -> Placed:
    """Instances whose nodes are given (`per-node`, `servers`): what does not fit is unplaced.

    Args:
        wanted: slot -> host name -> instances; hosts that are not nodes of this round are unplaced.
    """
    result = Placed({slot: {} for slot in wanted})
    for slot, counts in wanted.items():
        for host, count in sorted(counts.items()):
            for _ in range(count):
                if host in nodes and room.fits(host, need):
                    room.take(host, need)
                    result.slots[slot][host] = result.slots[slot].get(host, 0) + 1
                else:
                    result.unplaced += 1
    return result


def spread_share(per_node: int, hosts: list[str], percent: float, seed: int) -> tuple[Counts, Counts]:
    """How K instances on each of n nodes are divided between target and source.

    Three nodes, K = 7: 70 % gives the target 5, 5, 4; 30 % gives 2, 2, 2; 70 % with seed 2 gives 5, 4, 5.
    """
    count = len(hosts)
    base = int(per_node * percent // 100)
    lacking = int(count * per_node * percent // 100) - count * base
    extra = {(seed + number) % count for number in range(lacking)} if count else set()
    target = {host: base + (1 if index in extra else 0) for index, host in enumerate(hosts)}
    return target, {host: per_node - target[host] for host in hosts}


def _same(label: str, one: Node, other: Node) -> bool:
    if label == "host":
        return one.host == other.host
    return one.labels.get(label) == other.labels.get(label)


def _remove(counts: Counts, host: str) -> None:
    counts[host] -= 1
    if not counts[host]:
        del counts[host]
