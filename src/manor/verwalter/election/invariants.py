"""What must hold in every simulated election, looked at from outside: the invariants by their numbers.

I1 epochs never fall, and the disk is never older than a vote; I2 one target an epoch; I3 a leader won with a majority
of the nodes it knows; I4 it does not stay without one; I5 a whole network has one leader whom all follow; I6 so has
each component that may; I7 two leaders who reach each other do not coexist; I8, I9, I10 a healthy leader stays; I12 it
does not shout; I11 no schedule of a side gets lost when sides meet. I13 is held by a test that forbids the machine
everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manor.verwalter.election.machine import Follower, Leader, needed_votes
from manor.verwalter.election.messages import NodeId
from manor.verwalter.election.scenario import ClockJump, Event, Flap
from manor.verwalter.schedule import Envelope

if TYPE_CHECKING:
    from manor.verwalter.election.simulation import SimulatedNode, World

TRANSCRIPT_LINES = 2_000  # the end is what explains a failure; longer ones nobody reads
SETTLE_LIMIT_S = 60.0  # in all seeds; 20 s in 99 of 100 is judged over many runs
TWO_LEADERS_LIMIT_S = 5.0
LOSS_WITH_LIVENESS = 0.1
FACTS_SETTLED_AFTER_S = 60.0  # an election, downloads that are tried again, some rounds
MINORITY_SEEN_AFTER_S = 75.0 + 10.0 + 5.0  # silence, cantal's agreement, a poll and a message time-out


@dataclass(frozen=True, slots=True)
class Problem:
    invariant: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.text}"


@dataclass(slots=True)
class _Settling:
    """One component of the network, waiting for one leader whom all follow."""

    since: float
    begins_at: float = 0.0  # when it may lead at all, if that is later
    settled_at: float | None = None
    complained: bool = False


class Watch:
    """Sees every step of every node; collects problems and a transcript."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.problems: list[Problem] = []
        self.transcript: list[str] = []
        self.settled_s: list[float] = []
        self.leader_changes = 0
        self.sample_every_s = 0.5 if len(world.nodes) <= 20 else 1.0
        self._epochs: dict[tuple[NodeId, int], int] = {}
        self._targets: dict[tuple[NodeId, int], NodeId] = {}
        self._leads: dict[NodeId, int] = {}  # id -> life, of those who are Leader now
        self._pings: dict[NodeId, tuple[float, int, int]] = {}  # leader -> since, first epoch, beats
        self._pairs: dict[tuple[NodeId, NodeId], float] = {}
        self._settling: dict[frozenset[NodeId], _Settling] = {}
        self._disturbed_at = 0.0
        self._calm_leader: NodeId | None = None
        self._calm_changes: list[float] = []
        self._lasting: dict[NodeId, set[str]] = {}  # facts each node had when it was last disturbed

    # What nodes and the world report.

    def event(self, event: Event) -> None:
        self._write(str(event))
        if not isinstance(event, ClockJump | Flap):  # these two must not be noticed at all
            self._disturb()

    def forgot(self, node: SimulatedNode) -> None:
        """The node lost its `election.json`, and with it what binds it."""
        for key in [key for key in self._targets if key[0] == node.id]:
            del self._targets[key]
        self._lasting.pop(node.id, None)

    def persisted(self, node: SimulatedNode, epoch: int) -> None:
        if epoch < node.disk.epoch:
            self._complain("I1", f"{node.id} writes epoch {epoch} over {node.disk.epoch}")

    def voted(self, node: SimulatedNode, epoch: int, target: NodeId) -> None:
        if (node.disk.epoch, node.disk.voted_for) != (epoch, target):
            self._complain("I1", f"{node.id} votes for {target} in {epoch} with {node.disk} on disk")
        earlier = self._targets.setdefault((node.id, epoch), target)
        if earlier != target:
            self._complain("I2", f"{node.id} votes in epoch {epoch} for {earlier} and for {target}")

    def pinged(self, node: SimulatedNode) -> None:
        since, epoch, beats = self._pings.get(node.id, (self.world.clock.now, node.election.epoch, 0))
        self._pings[node.id] = (since, epoch, beats + 1)

    def stepped(self, node: SimulatedNode) -> None:
        """After each call of a node's machine."""
        election = node.election
        key = (node.id, node.life)
        if election.epoch < self._epochs.get(key, 0):
            self._complain("I1", f"{node.id} goes back from epoch {self._epochs[key]} to {election.epoch}")
        self._epochs[key] = election.epoch
        leads = isinstance(election.state, Leader)
        if leads and self._leads.get(node.id) != node.life:
            self._leads[node.id] = node.life
            self._begins_to_lead(node)
        elif not leads and self._leads.pop(node.id, None) == node.life:
            self._write(f"{node.id} leads no more: {election.changes[-1].reason}, epoch {election.epoch}")
            self._check_pings(node)

    def sample(self) -> None:
        """The slow checks, every half second or second."""
        now = self.world.clock.now
        if now <= self.world.busy_until:
            self._disturb()
        self._check_quorums()
        self._check_pairs(now)
        self._check_components(now)

    def parents_ready(
        self,
        node: SimulatedNode,
        parents: tuple[Envelope, ...],
        left_out: tuple[str, ...],
        missing: tuple[tuple[str, tuple[NodeId, ...]], ...],
    ) -> None:
        hashes = ", ".join(parent.hash[:6] for parent in parents) or "none"
        lost = ", ".join(hash[:6] for hash in (*left_out, *(hash for hash, _ in missing)))
        self._write(f"{node.id} begins rounds with parents {hashes}; without {lost or 'none'}")

    def finish(self) -> None:
        self._check_facts()
        for node in self.world.leaders():
            self._check_pings(node)
        self._note_settled()

    # The checks.

    def _begins_to_lead(self, node: SimulatedNode) -> None:
        now, view = self.world.clock.now, node.view()
        self._write(f"{node.id} leads in epoch {node.election.epoch}: {node.election.changes[-1].reason}")
        self._pings[node.id] = (now, node.election.epoch, 1)
        if view.minority_allowed or view.force_leader or not view.peers:
            return
        epoch = node.election.epoch
        voters = 1 + sum(self._targets.get((peer, epoch)) == node.id for peer in view.peers)
        if voters < needed_votes(1 + len(view.peers)):
            self._complain("I3", f"{node.id} leads epoch {epoch} with {voters} votes of {1 + len(view.peers)} nodes")

    def _check_quorums(self) -> None:
        now = self.world.clock.now
        for node in self.world.leaders():
            state, view, numbers = node.election.state, node.view(), node.election.numbers
            assert isinstance(state, Leader)
            limit_s = numbers.quorum_lost_s + 2 * numbers.heartbeat_s
            if view.minority_allowed or view.force_leader or now < node.stalled_until + 0.1:
                continue
            answering = 1 + sum(at >= now - limit_s for peer, at in state.pongs.items() if peer in view.peers)
            if now - state.since > limit_s and answering < view.needed:
                self._complain("I4", f"{node.id} leads with {answering} of {view.needed} needed answers")

    def _check_pairs(self, now: float) -> None:
        leaders = [node for node in self.world.leaders() if now >= node.stalled_until]
        present: set[tuple[NodeId, NodeId]] = set()
        for index, one in enumerate(leaders):
            for other in leaders[index + 1 :]:
                if self.world.reach_each_other(one.id, other.id):
                    present.add((one.id, other.id))
        self._pairs = {pair: self._pairs.get(pair, now) for pair in present}
        for (one_id, other_id), since in self._pairs.items():
            if now - since > TWO_LEADERS_LIMIT_S and self.world.network.weather.loss <= LOSS_WITH_LIVENESS:
                self._complain("I7", f"{one_id} and {other_id} both lead since {since:.1f} s")

    def _check_components(self, now: float) -> None:
        if self.world.cuts or now <= self.world.busy_until:
            return
        for component in self._components():
            settling = self._settling.setdefault(component, _Settling(self._disturbed_at))
            self._check_component(component, settling, now)

    def _check_component(self, component: frozenset[NodeId], settling: _Settling, now: float) -> None:
        world = self.world
        may_lead = len(component) >= needed_votes(len(world.nodes))
        waited_s = now - settling.since
        if not may_lead and world.scenario.rights.minority_allowed:
            may_lead = True
            settling.begins_at = settling.since + MINORITY_SEEN_AFTER_S
            waited_s -= MINORITY_SEEN_AFTER_S
        leaders = [id for id in component if isinstance(world.nodes[id].election.state, Leader)]
        if not may_lead:
            if leaders and waited_s > SETTLE_LIMIT_S:
                self._complain("I6", f"{leaders[0]} leads a minority of {len(component)}")
            return
        agreed = self._agreed(component, leaders)
        if agreed and settling.settled_at is None:
            settling.settled_at = max(now, settling.since)
        if agreed and len(component) > len(world.nodes) // 2:
            self._check_stability(leaders[0], now)
        limit_s, loss = SETTLE_LIMIT_S, world.network.weather.loss
        late = settling.settled_at is None and waited_s > limit_s
        if late and loss <= LOSS_WITH_LIVENESS and not settling.complained:
            settling.complained = True
            states = ", ".join(self._describe(world.nodes[id]) for id in sorted(component)[:10])
            self._complain("I5", f"no agreement {waited_s:.0f} s after the last disturbance: {states}")

    def _check_stability(self, leader: NodeId, now: float) -> None:
        """I8 and I10: at most one change in ten minutes; without loss none at all. I9: nor by a flapping node."""
        if self._calm_leader is not None and self._calm_leader != leader:
            self.leader_changes += 1
            loss, nodes = self.world.network.weather.loss, len(self.world.nodes)
            self._calm_changes = [at for at in self._calm_changes if now - at < 600.0] + [now]
            claimed = loss <= (0.2 if nodes >= 5 else 0.05)
            if claimed and len(self._calm_changes) > (1 if loss else 0):
                self._complain("I8", f"leader {self._calm_leader} replaced by {leader} in calm weather")
        self._calm_leader = leader

    def _check_pings(self, node: SimulatedNode) -> None:
        since, first_epoch, beats = self._pings.pop(node.id, (self.world.clock.now, node.election.epoch, 0))
        taken_over = node.election.epoch - first_epoch
        allowed = 2 * (self.world.clock.now - since) + taken_over + 3
        if beats > allowed:
            self._complain("I12", f"{node.id} pinged {beats} times in {self.world.clock.now - since:.1f} s")

    def _check_facts(self) -> None:
        """I11: what any living node's schedule knew is in the leader's, once all have met and settled."""
        world = self.world
        leaders = world.leaders()
        calm_s = world.clock.now - self._disturbed_at
        if len(leaders) != 1 or world.sides or world.cuts or world.flapping or calm_s < FACTS_SETTLED_AFTER_S:
            return
        owned = leaders[0].transport.owned
        if owned is None:
            return
        known = set(owned.data["facts"])
        for node in world.living():
            schedule = node.transport.last_known
            lost = set(schedule.data["facts"]) - known if schedule is not None else set()
            lost |= self._lasting.get(node.id, set()) - known
            if lost:
                self._complain("I11", f"{leaders[0].id} does not know what {node.id} knew: {sorted(lost)[:5]}")

    # Small things.

    def _components(self) -> Iterator[frozenset[NodeId]]:
        """The living nodes by side; a flapping one belongs to none."""
        now = self.world.clock.now
        by_side: dict[int, set[NodeId]] = {}
        for node in self.world.living():
            if self.world.flapping.get(node.id, -1.0) < now:
                by_side.setdefault(self.world.sides.get(node.id, 0), set()).add(node.id)
        return (frozenset(ids) for ids in by_side.values())

    def _agreed(self, component: frozenset[NodeId], leaders: list[NodeId]) -> bool:
        if len(leaders) != 1:
            return False
        epoch = self.world.nodes[leaders[0]].election.epoch
        for id in component:
            election = self.world.nodes[id].election
            state = election.state
            if id != leaders[0] and not (
                isinstance(state, Follower) and state.leader == leaders[0] and election.epoch == epoch
            ):
                return False
        return True

    def _disturb(self) -> None:
        self._note_settled()
        self._settling.clear()
        for node in self.world.living():
            schedule = node.transport.last_known
            if schedule is not None:
                self._lasting[node.id] = set(schedule.data["facts"])
        self._disturbed_at = self.world.clock.now
        self._calm_leader = None
        self._calm_changes = []

    def _note_settled(self) -> None:
        for settling in self._settling.values():
            if settling.settled_at is not None:
                begins_at = max(settling.since, settling.begins_at)
                self.settled_s.append(max(0.0, settling.settled_at - begins_at))

    def _complain(self, invariant: str, text: str) -> None:
        problem = Problem(invariant, self.world.clock.now, text)
        self._write(f"PROBLEM {problem}")
        if len(self.problems) < 100:
            self.problems.append(problem)

    def _write(self, line: str) -> None:
        self.transcript.append(f"{self.world.clock.now:10.3f} {line}")
        if len(self.transcript) > 2 * TRANSCRIPT_LINES:
            del self.transcript[:TRANSCRIPT_LINES]

    def _describe(self, node: SimulatedNode) -> str:
        return f"{node.id} {type(node.election.state).__name__} {node.election.epoch}"
