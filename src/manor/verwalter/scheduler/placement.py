"""Which node gets which instances: keep what fits, take surplus away, place what is missing. Nothing moves for beauty.

Theory of operation. Daemons are placed one after another in the order the caller gives them, each in its slots. What
the round before placed is kept while its node is eligible and has room. Surplus goes first from nodes that may be
dying, then from the fullest; missing instances are put one by one on the node that has the least. Ties are broken by
a hash of role, daemon and host, so that small roles do not all sit on the first node.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
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
    result = Placed({slot: {} for slot in wanted}, excluded=excluded_nodes(daemon, nodes.values()))
    tally = _Tally(daemon.placement.spread, nodes)
    cap = daemon.placement.max_per_node
    ties = _Ties(role, name)

    def has_room(host: str) -> bool:
        return (cap is None or tally.total[host] < cap) and room.fits(host, need)

    def put(slot: str, host: str) -> None:
        room.take(host, need)
        tally.add(host, 1)
        result.slots[slot][host] = result.slots[slot].get(host, 0) + 1

    for slot in wanted:
        for host, count in sorted(before.get(slot, {}).items()):
            if host in nodes and may_keep(daemon, nodes[host]):
                for _ in range(count):
                    if has_room(host):
                        put(slot, host)

    for slot, count in wanted.items():
        here = result.slots[slot]
        while sum(here.values()) > count:
            victim = max(
                here,
                key=lambda host: (
                    nodes[host].liveness is Liveness.SUSPECT,
                    tally.counts(host)[:1],
                    tally.total[host],
                    ties[host],
                ),
            )
            _remove(here, victim)
            tally.add(victim, -1)
            room.take(victim, need, -1)

    missing = {slot: count - sum(result.slots[slot].values()) for slot, count in wanted.items()}
    if any(missing.values()):
        queue = _Queue([host for host in nodes if host not in result.excluded], tally, room, ties)
        for slot, count in missing.items():
            for done in range(count):
                chosen = queue.take_best(has_room) if budget.spend() else None
                if chosen is None:
                    result.unplaced += count - done
                    break
                put(slot, chosen)
                queue.give_back(chosen)
    return result


class _Ties:
    """Tie values, made when they are needed: most rounds place nothing."""

    def __init__(self, role: str, daemon: str) -> None:
        self._role, self._daemon = role, daemon
        self._known: dict[str, int] = {}

    def __getitem__(self, host: str) -> int:
        if host not in self._known:
            self._known[host] = tie_value(self._role, self._daemon, host)
        return self._known[host]


class _Tally:
    """How many instances of the daemon are on every node, and on all nodes of one value of each spread label."""

    def __init__(self, spread: tuple[str, ...], nodes: Mapping[str, Node]) -> None:
        self.total: Counts = defaultdict(int)
        self._spread, self._nodes = spread, nodes
        self._by_value: dict[tuple[str, str | None], int] = defaultdict(int)
        self.spreads_over_hosts = "host" in spread

    def values(self, host: str) -> tuple[str | None, ...]:
        """The node's values of the spread labels; nodes that agree in them differ in nothing but themselves."""
        return tuple(None if label == "host" else self._nodes[host].labels.get(label) for label in self._spread)

    def counts(self, host: str) -> tuple[int, ...]:
        labels = self._nodes[host].labels
        return tuple(
            self.total[host] if label == "host" else self._by_value[label, labels.get(label)] for label in self._spread
        )

    def add(self, host: str, count: int) -> None:
        self.total[host] += count
        for label in self._spread:
            if label != "host":
                self._by_value[label, self._nodes[host].labels.get(label)] += count


class _Queue:
    """Finds the best node again and again, without looking at all of them for every instance.

    Nodes that agree in their spread labels form a group. Inside a group the order depends on the node alone, so a heap
    holds it; the heads of the groups, which are few, are compared in full.
    """

    def __init__(self, hosts: Iterable[str], tally: _Tally, room: Room, ties: _Ties) -> None:
        self._tally, self._room, self._ties = tally, room, ties
        self._by_host = tally.spreads_over_hosts
        self._groups: dict[tuple[str | None, ...], list[tuple[int, float, int, str]]] = defaultdict(list)
        for host in hosts:
            self._groups[tally.values(host)].append(self._key(host))
        for heap in self._groups.values():
            heapq.heapify(heap)

    def _key(self, host: str) -> tuple[int, float, int, str]:
        on_host = self._tally.total[host] if self._by_host else 0
        return on_host, self._room.share(host), self._ties[host], host

    def take_best(self, has_room: Callable[[str], bool]) -> str | None:
        """The node with the least tuple that has room, taken out of the queue; None if there is none."""
        best: tuple[tuple[int, ...], tuple[float, int, str]] | None = None
        best_heap: list[tuple[int, float, int, str]] | None = None
        for heap in self._groups.values():
            while heap and not has_room(heap[0][3]):
                heapq.heappop(heap)  # what is full stays full while only this daemon is placed
            if heap:
                candidate = (self._tally.counts(heap[0][3]), heap[0][1:])
                if best is None or candidate < best:
                    best, best_heap = candidate, heap
        return heapq.heappop(best_heap)[3] if best_heap else None

    def give_back(self, host: str) -> None:
        heapq.heappush(self._groups[self._tally.values(host)], self._key(host))


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


def _remove(counts: Counts, host: str) -> None:
    counts[host] -= 1
    if not counts[host]:
        del counts[host]
