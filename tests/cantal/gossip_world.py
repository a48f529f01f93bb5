"""A whole cluster of gossip cores on one virtual clock: what the stories of test_gossip_*.py are told with."""

from __future__ import annotations

import gc
import os
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.members import Directory, Members
from manor.cantal.gossip.messages import (
    AVAILABLE,
    STATE_MASK,
    Action,
    MemberChanged,
    Packet,
    Record,
    Send,
    State,
    rank_of,
)
from manor.cantal.gossip.numbers import DEFAULTS, GossipNumbers
from manor.simulation.network import Clock, Network, Weather

EPOCH_MS = 1_700_000_000_000
FROZEN_QUEUE_MAX = 500  # datagrams a socket keeps for a process that stands still


def size(full: int, small: int) -> int:
    """How large a scenario is: `MANOR_SIMULATE=full` is the size of the specification, `few` lies between."""
    return {"full": full, "few": min(full, 2 * small)}.get(os.environ.get("MANOR_SIMULATE", ""), small)


def seeds(full: int, few: int, small: int) -> range:
    return range({"full": full, "few": few}.get(os.environ.get("MANOR_SIMULATE", ""), small))


def address_of(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:22682"


class Node:
    """One simulated machine: a core, and whether it runs at all."""

    def __init__(self, world: World, number: int, core: Gossip) -> None:
        self.world = world
        self.number = number
        self.address = address_of(number)
        self.core = core
        self.frozen = False
        self._queue: deque[tuple[Packet, str]] = deque(maxlen=FROZEN_QUEUE_MAX)
        self._wake_at = float("inf")
        world.network.attach(self.address, self.receive)
        self.schedule()

    @property
    def id(self) -> bytes:
        return self.core.record.id

    def receive(self, packet: Packet, source: str) -> None:
        if self.frozen:
            self._queue.append((packet, source))
            return
        self.perform(self.core.receive(packet, source, self.world.clock.now))

    def perform(self, actions: Iterable[Action]) -> None:
        world, send, address = self.world, self.world.network.send, self.address
        for action in actions:
            if type(action) is Send:
                send(address, action.target, action.packet)
            else:
                world.happened(self, action)
        if self.core.wake_at < self._wake_at:
            self.schedule()

    def schedule(self) -> None:
        self._wake_at = self.core.wake_at
        self.world.clock.at(self._wake_at, self._wake)

    def _wake(self) -> None:
        now = self.world.clock.now
        if now < self._wake_at or self.frozen or self.world.nodes.get(self.number) is not self:
            return
        self._wake_at = float("inf")
        self.perform(self.core.tick(now))

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Go on: what waited in the socket comes first, then the ticks that are overdue."""
        self.frozen = False
        while self._queue:
            self.receive(*self._queue.popleft())
        self._wake_at = float("inf")
        self.schedule()

    def add_host(self, number: int) -> None:
        self.perform(self.core.add_host(address_of(number), self.world.clock.now))

    def view(self) -> dict[bytes, State]:
        members = self.core.members
        return {members.directory.ids[slot]: State(members.ranks[slot] & STATE_MASK) for slot in members}

    def state_of(self, member: bytes) -> State | None:
        slot = self.core.members.slot(member)
        return State(self.core.members.ranks[slot] & STATE_MASK) if slot is not None else None


class World:
    """Nodes by number. Equal seeds give equal logs."""

    def __init__(self, seed: int, weather: Weather | None = None, numbers: GossipNumbers = DEFAULTS) -> None:
        gc.disable()  # millions of small objects and no cycles: the collector would take half of the time
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.network: Network[str] = Network(self.clock, random.Random(self.rng.random()), weather)
        self.numbers = numbers
        self.directory = Directory()
        self.nodes: dict[int, Node] = {}
        self.log: list[tuple[float, int, Action]] = []
        self.wrongly_dead: list[tuple[float, int, bytes]] = []
        self.keep_log = True
        self._living: set[bytes] = set()
        self._ids: dict[int, bytes] = {}

    def id_of(self, number: int) -> bytes:
        if number not in self._ids:
            self._ids[number] = random.Random(f"machine {number}").randbytes(16)
        return self._ids[number]

    def record_of(self, number: int, incarnation: int | None = None) -> Record:
        return Record(
            id=self.id_of(number),
            incarnation=incarnation if incarnation is not None else EPOCH_MS + int(self.clock.now * 1000),
            addresses=(address_of(number),),
            host_name=f"host-{number}.example",
            node_name=f"host-{number}",
            port=22682,
            version="1.0.0",
        )

    def start(
        self, number: int, *, cluster: str = "test", members: Members | None = None, record: Record | None = None
    ) -> Node:
        """A machine comes up (again)."""
        core = Gossip(
            record or self.record_of(number),
            cluster,
            now=self.clock.now,
            wall_ms=EPOCH_MS + int(self.clock.now * 1000),
            rng=random.Random(self.rng.random()),
            numbers=self.numbers,
            members=members if members is not None else Members(self.directory),
        )
        node = self.nodes[number] = Node(self, number, core)
        self._living.add(core.record.id)
        return node

    def start_converged(self, count: int) -> None:
        """So many nodes that know each other already; they share one table as long as nothing changes."""
        base = Members(self.directory)
        records = [self.record_of(number) for number in range(count)]
        for record in records:
            base.add(record, rank_of(record.incarnation, State.ALIVE), now=0.0, since=0.0, rng=self.rng)
        for number, record in enumerate(records):
            self.start(number, members=base.fork(without=record.id), record=record)

    def start_converged_apart(self, count: int) -> None:
        """The same with a table of its own for each, in an order of its own, as real agents have."""
        records = [self.record_of(number) for number in range(count)]
        for number, record in enumerate(records):
            members, rng = Members(self.directory), random.Random(self.rng.random())
            for other in records:
                if other is not record:
                    members.add(other, rank_of(other.incarnation, State.ALIVE), now=0.0, since=0.0, rng=rng)
            self.start(number, members=members, record=record)

    def kill(self, number: int) -> Node:
        """Without warning."""
        node = self.nodes.pop(number)
        self.network.detach(node.address)
        self._living.discard(node.id)
        return node

    def run(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now + seconds)

    def run_until(self, condition: Callable[[], bool], within: float, step: float = 0.5) -> float:
        """Seconds until the condition held; an assertion error if it did not in time."""
        began = self.clock.now
        while not condition():
            assert self.clock.now - began < within, f"not within {within} s; the log ends with {self.log[-5:]}"
            self.run(step)
        return self.clock.now - began

    def happened(self, node: Node, action: Action) -> None:
        if self.keep_log:
            self.log.append((self.clock.now, node.number, action))
        if type(action) is MemberChanged and action.after is State.DEAD and action.member in self._living:
            self.wrongly_dead.append((self.clock.now, node.number, action.member))

    def all_know_all(self) -> bool:
        """Every running node holds every other running node for alive."""
        ids = [node.id for node in self.nodes.values()]
        return all(
            node.core.members.counts[State.ALIVE] >= len(ids) - 1
            and all(node.state_of(other) is State.ALIVE for other in ids if other != node.id)
            for node in self.nodes.values()
        )

    def holders(self, member: bytes, *states: State | None) -> int:
        """How many running nodes hold the member for one of these."""
        return sum(node.state_of(member) in states for node in self.nodes.values())

    def dead_everywhere(self, member: bytes) -> bool:
        return self.holders(member, State.DEAD) == len(self.nodes)

    def available_everywhere(self, member: bytes) -> bool:
        return all(node.id == member or node.state_of(member) in AVAILABLE for node in self.nodes.values())

    def summary(self) -> dict[str, Any]:
        return {"now": self.clock.now, "nodes": len(self.nodes), "packets": self.network.sent}
