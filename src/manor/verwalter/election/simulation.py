"""The election in a made-up world: virtual time, a seeded network, crashes, stalls, clocks that jump, a late cantal.

Theory of operation. Every node runs the real machine and the real membership. What cantal would answer is derived from
the state of the world some seconds ago (gossip needs that long to agree). The nodes also run the real transport of
schedules with a toy scheduler: a schedule is a set of facts, a round unites those of its parents and now and then adds
one, so that a fact that is missing at the end shows a parent that got lost. `World` carries out the events of a
scenario, `Watch` (in `invariants.py`) looks at every step and complains; equal arguments give equal histories.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from manor.config.errors import ManorError
from manor.simulation.network import Clock, Network, Weather
from manor.verwalter.election.invariants import Problem, Watch
from manor.verwalter.election.machine import Election, Follower, Leader, View
from manor.verwalter.election.messages import (
    Action,
    Confirm,
    Message,
    NodeId,
    Persist,
    Ping,
    PingAll,
    Pong,
    SendPong,
    Vote,
    VoteAll,
)
from manor.verwalter.election.numbers import ElectionNumbers
from manor.verwalter.election.scenario import (
    ClockJump,
    Crash,
    Cut,
    Delay,
    Event,
    Flap,
    Heal,
    Loss,
    Restart,
    Scenario,
    Split,
    Stale,
    Stall,
)
from manor.verwalter.membership import CantalAnswer, CantalPeer, Member, Membership, Rights
from manor.verwalter.schedule import Envelope, Stamp, descent, hash_of, in_order
from manor.verwalter.succession import Succession
from manor.verwalter.transport.core import Action as TransportAction
from manor.verwalter.transport.core import Adopt, Fetch, ParentsReady, StableLeader, Transport

CANTAL_AGREES_AFTER_S = 10.0  # gossip calls a silent member dead within about this time
POLL_EVERY_S = 1.0
STALE_FELT_S = 6.0  # a view is lost up to a poll after cantal returned; then followers wait for their message time-out
START_WITHIN_S = 1.0  # the nodes of a cluster are switched on within this time
WALL_AT_START_MS = 1_773_479_702_000
ROUND_EVERY_S = 5.0
NEW_FACT_SHARE = 0.2  # of rounds
DOWNLOAD_S = 0.05
DOWNLOAD_TIMEOUT_S = 3.0


class NoSuchNode(ManorError):
    """`n7` of the scenario is none of the 5 nodes; n1 to n5 are"""

    exit_status = 2


def node_name(number: int) -> NodeId:
    """Scenario name `n1` is the node with this id: ids are hexadecimal and sort as the numbers do."""
    return f"{number:08x}"


Packet = tuple[Message, Stamp | None]


@dataclass(frozen=True, slots=True)
class _Sight:
    """Who could see whom from a moment on."""

    since: float
    down: frozenset[NodeId]
    side: dict[NodeId, int]


@dataclass(slots=True)
class _Disk:
    """`election.json` and `schedule.json` of one node."""

    epoch: int = 0
    voted_for: NodeId | None = None
    members: tuple[Member, ...] = ()
    schedule: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run showed. It is good when there are no problems."""

    nodes: int
    seed: int
    minutes: float
    problems: tuple[Problem, ...]
    transcript: tuple[str, ...]
    settled_s: tuple[float, ...]  # how long each component took to agree after each disturbance
    leader_changes: int
    packets: int


@dataclass(slots=True)
class SimulatedNode:
    """One daemon: the cores, what stands on its disk, and its troubles."""

    id: NodeId
    world: World
    rng: random.Random
    disk: _Disk = field(default_factory=_Disk)
    up: bool = False
    life: int = 0  # counts restarts, so that timers of a former life do nothing
    wall_offset_s: float = 0.0
    stalled_until: float = 0.0
    stale_until: float = 0.0
    election: Election = field(init=False)
    membership: Membership = field(init=False)
    transport: Transport = field(init=False)
    _succession: Succession = field(init=False)
    _parents: tuple[Envelope, ...] = ()
    _waiting: deque[tuple[Packet, NodeId]] = field(default_factory=deque)
    _wakes_at: float = float("inf")
    _answer: CantalAnswer | None = None
    _answer_of: _Sight | None = None

    def start(self) -> None:
        now = self.world.clock.now
        self.life += 1
        self.up = True
        self._waiting.clear()
        self._wakes_at = float("inf")
        self.membership = Membership(self.id, self.disk.members)
        self.election = Election(
            self.id, self.world.scenario.numbers, self.rng, now, self.disk.epoch, self.disk.voted_for
        )
        self.transport = Transport(self.id, self.rng, self.disk.schedule)
        self._succession = Succession(self.election, self.transport)
        self.world.network.attach(self.id, self.receive)
        self._poll(self.life)
        self._plan_wake()

    def crash(self) -> None:
        self.up = False
        self.life += 1
        self.world.network.detach(self.id)

    def view(self) -> View:
        return self.membership.view(self.world.clock.now, self.world.scenario.rights)

    def receive(self, packet: Packet, source: NodeId) -> None:
        if self.world.clock.now < self.stalled_until:
            self._waiting.append((packet, source))
            return
        now, (message, stamp) = self.world.clock.now, packet
        self.membership.hear(source, now)
        self._perform(self.election.receive(message, source, now, self.view()))
        if isinstance(message, Ping):
            if self.election.leader == source:
                self._carry(self.transport.announced(source, stamp, now))
        elif isinstance(message, Pong) and isinstance(self.election.state, Leader):
            self._carry(self.transport.ponged(source, stamp, now))

    def wake_from_stall(self) -> None:
        """The operating system does not say what it gives first: the timers or what lies in the socket."""
        if not self.up or self.world.clock.now < self.stalled_until:
            return
        if self.rng.random() < 0.5:
            self._tick()
        while self._waiting:
            self.receive(*self._waiting.popleft())
        self._tick()

    def _poll(self, life: int) -> None:
        """Ask cantal, every second, when nothing prevents it."""
        if life != self.life:
            return
        now = self.world.clock.now
        if now >= self.stalled_until and now >= self.stale_until:
            self.membership.learn(self._ask_cantal(), now, self._wall_ms())
            if self.membership.members_changed:
                self.disk.members = self.membership.take_members(now, self._wall_ms())
        self.world.clock.after(POLL_EVERY_S, lambda: self._poll(life))

    def _wall_ms(self) -> int:
        return WALL_AT_START_MS + int(1000 * (self.world.clock.now + self.wall_offset_s))

    def _ask_cantal(self) -> CantalAnswer:
        sight = self.world.sight_at(self.world.clock.now - CANTAL_AGREES_AFTER_S)
        if self._answer is None or sight is not self._answer_of:
            own_side = sight.side.get(self.id, 0)
            self._answer_of = sight
            self._answer = CantalAnswer(
                peers=tuple(
                    CantalPeer(
                        id=id,
                        hostname=id,
                        name=id,
                        primary_addr=f"{id}:1",
                        available=id not in sight.down and sight.side.get(id, 0) == own_side,
                    )
                    for id in self.world.nodes
                    if id != self.id
                )
            )
        return self._answer

    def _tick(self) -> None:
        now = self.world.clock.now
        if self.up and now >= self.stalled_until:
            self._perform(self.election.tick(now, self.view()))
            self._carry(self.transport.tick(now))

    def _perform(self, actions: Iterable[Action]) -> None:
        send = self.world.network.send
        for action in actions:
            match action:
                case Persist(epoch, voted_for):
                    self.world.watch.persisted(self, epoch)
                    self.disk.epoch, self.disk.voted_for = epoch, voted_for
                case PingAll(epoch):
                    self.world.watch.pinged(self)
                    ping = (Ping(epoch), self.transport.stamp)
                    for peer in self.membership.peers:
                        send(self.id, peer, ping)
                case VoteAll(epoch, answered):
                    self.world.watch.voted(self, epoch, self.id)
                    vote = (Vote(epoch, self.id), self.transport.stamp)
                    for peer in self.membership.peers:
                        if peer not in answered:
                            send(self.id, peer, vote)
                case Confirm(epoch, target):
                    self.world.watch.voted(self, epoch, target)
                    send(self.id, target, (Vote(epoch, target), self.transport.stamp))
                case SendPong(epoch, leader):
                    send(self.id, leader, (Pong(epoch), self.transport.next_pong_stamp()))
        self.world.watch.stepped(self)
        self._carry(self._succession.look(self.membership.responsive, self.world.clock.now).actions)
        self._plan_wake()

    def _carry(self, actions: Iterable[TransportAction]) -> None:
        for action in actions:
            match action:
                case Fetch():
                    self.world.download(self, action)
                case Adopt(envelope, _):
                    self.disk.schedule = envelope
                case ParentsReady(parents, left_out, missing):
                    self.world.watch.parents_ready(self, parents, left_out, missing)
                    self._parents = parents
                    self._round(self.life, self.election.counts["became_leader"])
        if actions:
            self._plan_wake()

    def _round(self, life: int, leadership: int) -> None:
        """Every five seconds while this leadership lasts: unite the parents, sometimes add something."""
        still = life == self.life and leadership == self.election.counts["became_leader"]
        if not still or not isinstance(self.transport.state, StableLeader):
            return
        if self.world.clock.now >= self.stalled_until:
            own, late = self.transport.owned, self.transport.take_late_parents()
            parents = in_order(own, late) if own is not None else in_order(None, (*self._parents, *late))
            facts = {fact for parent in parents for fact in parent.data["facts"]}
            if not facts or self.rng.random() < NEW_FACT_SHARE:
                facts.add(self.world.new_fact(self.id))
            data = {"facts": sorted(facts)}
            hash = hash_of(data)
            ancestors = tuple(ancestor for ancestor in descent(parents) if ancestor[0] != hash)
            now_ms = WALL_AT_START_MS + int(1000 * self.world.clock.now)
            envelope = Envelope(
                hash=hash,
                timestamp=now_ms,
                origin=self.id,
                epoch=self.election.epoch,
                ancestors=ancestors,
                data=data,
            )
            self._carry(self.transport.published(envelope))
        self.world.clock.after(ROUND_EVERY_S, lambda: self._round(life, leadership))

    def _plan_wake(self) -> None:
        """One timer at a time: when it fires too early, because a ping moved the deadline, it is set again."""
        wake_at = min(self.election.wake_at, self.transport.wake_at)
        if wake_at < self._wakes_at:
            self._wakes_at = wake_at
            life = self.life
            self.world.clock.at(wake_at, lambda: self._wake(life, wake_at))

    def _wake(self, life: int, planned: float) -> None:
        if life != self.life or planned != self._wakes_at:
            return
        self._wakes_at = float("inf")
        now = self.world.clock.now
        if now >= self.stalled_until and now >= min(self.election.wake_at, self.transport.wake_at):
            self._tick()
        elif now >= self.stalled_until:
            self._plan_wake()


class World:
    """All nodes, the network between them, and the events of a scenario."""

    def __init__(self, nodes: int, seed: int, scenario: Scenario) -> None:
        rng = random.Random(seed)
        self.scenario = scenario
        self.clock = Clock()
        self.network: Network[NodeId] = Network(
            self.clock, random.Random(rng.random()), Weather(delay_s=scenario.delay_s, loss=scenario.loss)
        )
        self.network.weather.duplication = scenario.duplication
        self.down: set[NodeId] = set()
        self.sides: dict[NodeId, int] = {}
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.busy_until = 0.0  # stalls and stale views last until then
        self.flapping: dict[NodeId, float] = {}  # until when
        self._facts = 0
        self._sights = [_Sight(float("-inf"), frozenset(), {})]
        ids = [node_name(number) for number in range(1, nodes + 1)]
        self.nodes = {id: SimulatedNode(id, self, random.Random(rng.random())) for id in ids}
        self.watch = Watch(self)
        for node in self.nodes.values():
            self.clock.at(rng.uniform(0.0, START_WITHIN_S), node.start)
        for event in scenario.events:
            self.clock.at(event.at_s, lambda event=event: self._happen(event))  # type: ignore[misc]

    def run(self, seconds: float) -> None:
        self.clock.after(self.watch.sample_every_s, self._sample)
        self.clock.run_until(seconds)
        self.watch.finish()

    def living(self) -> Iterator[SimulatedNode]:
        return (node for node in self.nodes.values() if node.up)

    def leaders(self) -> list[SimulatedNode]:
        return [node for node in self.living() if isinstance(node.election.state, Leader)]

    def reach_each_other(self, one: NodeId, other: NodeId) -> bool:
        return self.network.reaches(one, other) and self.network.reaches(other, one)

    def sight_at(self, moment: float) -> _Sight:
        for sight in reversed(self._sights):
            if sight.since <= moment:
                return sight
        return self._sights[0]

    def download(self, asker: SimulatedNode, order: Fetch) -> None:
        """Over another way than packets: it arrives, or fails after three seconds."""
        holder, life = self.nodes[order.source], asker.life

        def arrive() -> None:
            found = holder.transport.shelf.get(order.hash) if holder.up else None
            if life != asker.life:
                return
            if found is None or not self.reach_each_other(asker.id, holder.id):
                self.clock.after(DOWNLOAD_TIMEOUT_S, fail)
            else:
                asker._carry(asker.transport.fetched(found, order.source, self.clock.now))

        def fail() -> None:
            if life == asker.life:
                asker._carry(asker.transport.failed(order.hash, order.source, self.clock.now))

        self.clock.after(DOWNLOAD_S, arrive)

    def new_fact(self, node: NodeId) -> str:
        self._facts += 1
        return f"{self._facts}:{node}"

    def _sample(self) -> None:
        self.watch.sample()
        self.clock.after(self.watch.sample_every_s, self._sample)

    def _happen(self, event: Event) -> None:
        self.watch.event(event)
        match event:
            case Split(sides=sides):
                named = [tuple(self._id(name) for name in side) for side in sides]
                self.sides = {id: number for number, side in enumerate(named, 1) for id in side}
                self.network.split(*named)
            case Heal():
                self.sides = {}
                self.cuts.clear()
                self.network.heal()
            case Cut(source=source, target=target, one_way=one_way):
                one, other = self._id(source), self._id(target)
                for pair in ((one, other),) if one_way else ((one, other), (other, one)):
                    self.cuts.add(pair)
                    self.network.cut(*pair)
            case Loss(share=share):
                self.network.weather.loss = share
            case Delay(range_s=range_s):
                self.network.weather.delay_s = range_s
            case Crash(nodes=names):
                for node in self._named(names):
                    self.down.add(node.id)
                    node.crash()
            case Restart(nodes=names, with_file=with_file):
                for node in self._named(names):
                    if node.up:
                        continue
                    if not with_file:
                        node.disk = _Disk()
                        self.watch.forgot(node)
                    self.down.discard(node.id)
                    node.start()
            case ClockJump(node=name, by_s=by_s):
                self._node(name).wall_offset_s += by_s
            case Stall(node=name, for_s=for_s):
                node = self._node(name)
                node.stalled_until = self.clock.now + for_s
                self._busy(for_s)
                self.clock.after(for_s, node.wake_from_stall)
            case Stale(node=name, for_s=for_s):
                self._node(name).stale_until = self.clock.now + for_s
                self._busy(for_s + STALE_FELT_S)
            case Flap():
                self.flapping[self._id(event.node)] = event.until_s
                self._flap(event, off=True)
        self._see()

    def _flap(self, event: Flap, *, off: bool) -> None:
        """Cut one node off and let it back, again and again until the flapping ends."""
        if self.clock.now >= event.until_s:
            off = False
        node = self._id(event.node)
        for other in self.nodes:
            if other != node:
                for pair in ((node, other), (other, node)):
                    (self.network.cut if off else self.network.mend)(*pair)
        if self.clock.now < event.until_s:
            self.clock.after(event.every_s, lambda: self._flap(event, off=not off))

    def _see(self) -> None:
        self._sights.append(_Sight(self.clock.now, frozenset(self.down), dict(self.sides)))

    def _busy(self, for_s: float) -> None:
        self.busy_until = max(self.busy_until, self.clock.now + for_s)

    def _id(self, name: str) -> NodeId:
        return node_name(int(name[1:]))

    def _node(self, name: str) -> SimulatedNode:
        return self.nodes[self._id(name)]

    def _named(self, names: Iterable[str]) -> list[SimulatedNode]:
        return [self._node(name) for name in names]


def run(nodes: int, seed: int, scenario: Scenario | None = None, minutes: float = 10.0) -> Outcome:
    """Let a cluster live for some virtual minutes; without a scenario nothing happens to it."""
    scenario = scenario or Scenario()
    for name in sorted(scenario.names()):
        if int(name[1:]) > nodes:
            raise NoSuchNode(f"`{name}` of the scenario is none of the {nodes} nodes; n1 to n{nodes} are")
    world = World(nodes, seed, scenario)
    world.run(minutes * 60)
    watch = world.watch
    return Outcome(
        nodes=nodes,
        seed=seed,
        minutes=minutes,
        problems=tuple(watch.problems),
        transcript=tuple(watch.transcript),
        settled_s=tuple(watch.settled_s),
        leader_changes=watch.leader_changes,
        packets=world.network.sent,
    )


def describe(node: SimulatedNode) -> str:
    """One node in a transcript."""
    state = node.election.state
    of = f" of {state.leader}" if isinstance(state, Follower) else ""
    return f"{node.id} {type(state).__name__}{of} epoch {node.election.epoch}"


__all__ = ["ElectionNumbers", "Outcome", "Rights", "SimulatedNode", "World", "run"]
