"""Who leads: the election of one node as a machine without I/O. The tables at the end of this file are the protocol.

Theory of operation. Every node counts epochs. Whoever hears nothing from a leader for a while raises the epoch, votes
for itself and asks the others; a node votes once per epoch. With the votes of a majority a candidate leads and says so
twice a second (Ping); followers answer (Pong). A higher epoch wins wherever two meet, with two exceptions that keep a
healthy leadership alive when somebody comes back from a cut: a follower that has just heard its leader ignores newer
votes, and a leader with a fresh quorum takes the newcomer in by raising its own epoch instead of giving way.

The machine is told the time, the peers (`View`) and what arrived, and returns what to do, in order. It knows no
addresses, packets or disks, draws from the generator it was given, and asks to be called again at `wake_at`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

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
from manor.verwalter.election.numbers import EVENTS_KEPT, ElectionNumbers


def needed_votes(nodes: int) -> int:
    """A majority: 1 of 1, 2 of 2, 2 of 3, 3 of 4, 3 of 5."""
    return nodes // 2 + 1


@dataclass(frozen=True)
class View:
    """What a node believes about the cluster at one moment."""

    own_id: NodeId
    peers: frozenset[NodeId]  # everyone known and not forgotten, without the node itself
    responsive: frozenset[NodeId]  # those of them that are believed to live
    fresh: bool  # whether the local cantal answered lately
    minority_allowed: bool = False
    candidate: bool = True  # false: votes and follows, never stands
    force_leader: bool = False
    resign_requested: bool = False

    @cached_property
    def counted(self) -> frozenset[NodeId]:
        return self.responsive if self.minority_allowed else self.peers

    @cached_property
    def needed(self) -> int:
        """Votes to win, the own one included."""
        return needed_votes(1 + len(self.counted))


@dataclass(frozen=True, slots=True)
class Starting:
    pass


@dataclass(frozen=True, slots=True)
class Electing:
    votes: frozenset[NodeId]
    needed: int  # at the start of this epoch
    repeat_at: float | None


@dataclass(frozen=True, slots=True)
class Voted:
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Leader:
    since: float
    pongs: dict[NodeId, float] = field(default_factory=dict)  # last pong of this epoch; the one mutable part of a state


@dataclass(frozen=True, slots=True)
class Follower:
    leader: NodeId
    heard_at: float


State = Starting | Electing | Voted | Leader | Follower


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state, for people."""

    at: float
    before: str
    after: str
    epoch: int
    reason: str


@dataclass(slots=True)
class _Heard:
    """One message and everything its row may look at."""

    message: Message
    source: NodeId
    now: float
    view: View


class Election:
    """One node's part in elections. `tick` at `wake_at`, `receive` each message; perform the actions in order."""

    def __init__(
        self,
        own_id: NodeId,
        numbers: ElectionNumbers,
        rng: random.Random,
        now: float,
        epoch: int = 0,
        voted_for: NodeId | None = None,
    ) -> None:
        self.own_id = own_id
        self.numbers = numbers
        self.epoch = epoch
        self.voted_for = voted_for
        self.state: State = Starting()
        self.deadline = 0.0
        self.counts: Counter[str] = Counter()
        self.last_at: dict[str, float] = {}
        self.changes: deque[Change] = deque(maxlen=EVENTS_KEPT)
        self._rng = rng
        self._elections_in_a_row = 0
        self._penalty_s = numbers.resign_penalty_s
        self._penalty_until = float("-inf")
        self._wait_for_start(now)

    @property
    def wake_at(self) -> float:
        """When `tick` has something to do."""
        if isinstance(self.state, Electing) and self.state.repeat_at is not None:
            return min(self.state.repeat_at, self.deadline)
        return self.deadline

    @property
    def leader(self) -> NodeId | None:
        """The node that leads as far as this one knows."""
        if isinstance(self.state, Leader):
            return self.own_id
        return self.state.leader if isinstance(self.state, Follower) else None

    def may_stand(self, now: float, view: View) -> bool:
        """Whether to stand for election: allowed to, not under a penalty, and with a view to count votes by."""
        return view.force_leader or (view.candidate and view.fresh and now >= self._penalty_until)

    def tick(self, now: float, view: View) -> list[Action]:
        """What is due. Before the deadline only the one repetition of a call for votes."""
        state = self.state
        if now < self.deadline:
            if isinstance(state, Electing) and state.repeat_at is not None and now >= state.repeat_at:
                self.state = Electing(state.votes, state.needed, repeat_at=None)
                return [VoteAll(self.epoch, answered=state.votes)]
            return []
        for states, holds, then, reason in TIME_TABLE:
            if isinstance(state, states) and holds(self, now, view):
                self._count(reason, now)
                return then(self, now, view, reason)
        raise AssertionError(f"the time table has no row for {state}")  # its last rows have no condition

    def receive(self, message: Message, source: NodeId, now: float, view: View) -> list[Action]:
        """The row of the message table that fits, carried out."""
        if source == self.own_id:
            return []
        if message.epoch < self.epoch:
            self._count("outdated", now)  # row 1
            return []
        if isinstance(self.state, Leader) and _overslept(self, now, view):
            # What waits in the socket of a process that was stopped must not look like a living quorum.
            self._count("overslept", now)
            self._become_starting(now, "overslept")
        heard = _Heard(message, source, now, view)
        for row in _ROWS[type(message), "equal" if message.epoch == self.epoch else "newer"]:
            if row.holds(self, heard):
                self._count(row.counter, now)
                return row.then(self, heard, row.counter)
        raise AssertionError(f"the message table has no row for {message} in {self.state}")

    # What rows do. Each returns its actions; `reason` is the word under which the change is shown.

    def _ignore(self, _heard: _Heard, _reason: str) -> list[Action]:
        return []

    def _follow(self, heard: _Heard, reason: str) -> list[Action]:
        actions = self._set_epoch(heard.message.epoch)
        self._enter(Follower(heard.source, heard.now), heard.now, reason)
        self.deadline = heard.now + self.numbers.draw_message_timeout(self._rng)
        self._elections_in_a_row = 0
        return [*actions, SendPong(self.epoch, heard.source)]

    def _record_pong(self, heard: _Heard, _reason: str) -> list[Action]:
        assert isinstance(self.state, Leader)
        self.state.pongs[heard.source] = heard.now
        return []

    def _vote_for_target(self, heard: _Heard, reason: str) -> list[Action]:
        assert isinstance(heard.message, Vote)
        target = heard.message.target
        actions = self._set_epoch(heard.message.epoch, voted_for=target)
        self._enter(Voted(target), heard.now, reason)
        self.deadline = heard.now + self.numbers.draw_message_timeout(self._rng)
        return [*actions, Confirm(self.epoch, target)]

    def _confirm_again(self, heard: _Heard, _reason: str) -> list[Action]:
        return [Confirm(self.epoch, heard.source)]

    def _add_vote(self, heard: _Heard, _reason: str) -> list[Action]:
        assert isinstance(self.state, Electing)
        self.state = Electing(self.state.votes | {heard.source}, self.state.needed, self.state.repeat_at)
        return []

    def _win(self, heard: _Heard, reason: str) -> list[Action]:
        return self._lead(heard.now, reason)

    def _stand_above(self, heard: _Heard, reason: str) -> list[Action]:
        """Electing in the epoch after the message's; who may not stand only takes the message's epoch over."""
        if not self.may_stand(heard.now, heard.view):
            actions = self._set_epoch(heard.message.epoch)
            self._become_starting(heard.now, reason)
            return actions
        return self._stand(heard.message.epoch + 1, heard.now, heard.view, reason)

    def _lift_epoch(self, heard: _Heard, reason: str) -> list[Action]:
        """Keep the leadership under a number the newcomer accepts."""
        assert isinstance(self.state, Leader)
        actions = self._set_epoch(heard.message.epoch + 1)
        self._enter(Leader(since=heard.now), heard.now, reason)
        self.deadline = heard.now + self.numbers.heartbeat_s
        self._count("ping_all", heard.now)
        return [*actions, PingAll(self.epoch)]

    # What the time table does.

    def _wait_again(self, now: float, _view: View, reason: str) -> list[Action]:
        self._become_starting(now, reason)
        return []

    def _resign(self, now: float, _view: View, reason: str) -> list[Action]:
        if now > self._penalty_until + self.numbers.resign_penalty_max_s:
            self._penalty_s = self.numbers.resign_penalty_s  # the last time is long ago
        self._penalty_until = now + self._penalty_s
        self._penalty_s = min(2 * self._penalty_s, self.numbers.resign_penalty_max_s)
        self._become_starting(now, reason)
        return []

    def _stand_next(self, now: float, view: View, reason: str) -> list[Action]:
        return self._stand(self.epoch + 1, now, view, reason)

    def _lead_alone(self, now: float, _view: View, reason: str) -> list[Action]:
        actions = self._set_epoch(self.epoch + 1)
        return [*actions, *self._lead(now, reason)]

    def _beat(self, now: float, _view: View, _reason: str) -> list[Action]:
        self.deadline = now + self.numbers.heartbeat_s
        return [PingAll(self.epoch)]

    # Steps shared by both.

    def _stand(self, epoch: int, now: float, view: View, reason: str) -> list[Action]:
        actions = self._set_epoch(epoch, voted_for=self.own_id)
        self._count("start_election", now)
        if view.needed <= 1:
            return [*actions, *self._lead(now, reason)]
        self._elections_in_a_row += 1
        timeout_s = self.numbers.draw_election_timeout(self._rng, self._elections_in_a_row)
        own_vote = frozenset({self.own_id})
        self._enter(Electing(own_vote, view.needed, repeat_at=now + timeout_s / 2), now, reason)
        self.deadline = now + timeout_s
        return [*actions, VoteAll(self.epoch, answered=own_vote)]

    def _lead(self, now: float, reason: str) -> list[Action]:
        self._enter(Leader(since=now), now, reason)
        self.deadline = now + self.numbers.heartbeat_s
        self._elections_in_a_row = 0
        self._count("became_leader", now)
        self._count("ping_all", now)
        return [PingAll(self.epoch)]

    def _become_starting(self, now: float, reason: str) -> None:
        self._enter(Starting(), now, reason)
        self._wait_for_start(now)

    def _wait_for_start(self, now: float) -> None:
        self.deadline = now + self.numbers.start_timeout_s + self.numbers.draw_message_timeout(self._rng)

    def _set_epoch(self, epoch: int, voted_for: NodeId | None = None) -> list[Action]:
        """Take an epoch over, with the vote given in it if there is one; changes are persisted before anything else."""
        assert epoch >= self.epoch, "an epoch never decreases"
        if epoch == self.epoch and voted_for in (None, self.voted_for):
            return []
        self.epoch, self.voted_for = epoch, voted_for
        return [Persist(epoch, voted_for)]

    def _enter(self, state: State, now: float, reason: str) -> None:
        before = self.state
        self.state = state
        if type(before) is not type(state) or reason == "epoch_lift":
            self.changes.append(Change(now, type(before).__name__, type(state).__name__, self.epoch, reason))

    def _count(self, counter: str, now: float) -> None:
        self.counts[counter] += 1
        self.last_at[counter] = now


# Conditions of the time table.


def _always(_machine: Election, _now: float, _view: View) -> bool:
    return True


def _view_is_stale(_machine: Election, _now: float, view: View) -> bool:
    return not view.fresh and not view.force_leader


def _alone_or_forced(_machine: Election, _now: float, view: View) -> bool:
    return view.force_leader or not view.peers


def _may_not_stand(machine: Election, now: float, view: View) -> bool:
    return not machine.may_stand(now, view)


def _overslept(machine: Election, now: float, _view: View) -> bool:
    return now - machine.deadline > machine.numbers.overslept_s


def _asked_to_resign(_machine: Election, _now: float, view: View) -> bool:
    return view.resign_requested


def _quorum_is_lost(machine: Election, now: float, view: View) -> bool:
    state, lost_s = machine.state, machine.numbers.quorum_lost_s
    assert isinstance(state, Leader)
    return not view.force_leader and now - state.since >= lost_s and _answering(state, now - lost_s, view) < view.needed


def _answering(state: Leader, since: float, view: View) -> int:
    """Nodes that count and have answered since then, the leader included."""
    counted = view.counted
    return 1 + sum(at >= since and peer in counted for peer, at in state.pongs.items())


# Conditions of the message table.


def _any(_machine: Election, _heard: _Heard) -> bool:
    return True


def _leading(machine: Election, _heard: _Heard) -> bool:
    return isinstance(machine.state, Leader)


def _leading_with_quorum(machine: Election, heard: _Heard) -> bool:
    state = machine.state
    if not isinstance(state, Leader):
        return False
    return _answering(state, heard.now - machine.numbers.quorum_window_s, heard.view) >= heard.view.needed


def _following_fresh(machine: Election, heard: _Heard) -> bool:
    state = machine.state
    return isinstance(state, Follower) and heard.now - state.heard_at <= machine.numbers.sticky_s


def _starting_and_free(machine: Election, heard: _Heard) -> bool:
    assert isinstance(heard.message, Vote)
    return isinstance(machine.state, Starting) and machine.voted_for in (None, heard.message.target)


def _starting(machine: Election, _heard: _Heard) -> bool:
    return isinstance(machine.state, Starting)


def _vote_decides(machine: Election, heard: _Heard) -> bool:
    if not _vote_for_me(machine, heard):
        return False
    assert isinstance(machine.state, Electing)
    votes = (machine.state.votes | {heard.source}) & heard.view.counted
    return 1 + len(votes) >= max(machine.state.needed, heard.view.needed)


def _vote_for_me(machine: Election, heard: _Heard) -> bool:
    return isinstance(machine.state, Electing) and _my_own(machine, heard)


def _my_own(machine: Election, heard: _Heard) -> bool:
    return isinstance(heard.message, Vote) and heard.message.target == machine.own_id


def _electing(machine: Election, _heard: _Heard) -> bool:
    return isinstance(machine.state, Electing)


def _repeated_call(machine: Election, heard: _Heard) -> bool:
    assert isinstance(heard.message, Vote)
    return machine.state == Voted(heard.source) and heard.message.target == heard.source


_TimeCondition = Callable[[Election, float, View], bool]
_TimeOutcome = Callable[[Election, float, View, str], list[Action]]

TIME_TABLE: Final[tuple[tuple[tuple[type[State], ...], _TimeCondition, _TimeOutcome, str], ...]] = (
    # After the deadline the first row that applies; the last column is the counter.
    ((Starting, Electing, Voted, Leader, Follower), _view_is_stale, Election._wait_again, "bad_hosts"),
    ((Starting,), _alone_or_forced, Election._lead_alone, "self_elect"),
    ((Starting, Electing, Voted, Follower), _may_not_stand, Election._wait_again, "may_not_stand"),
    ((Starting,), _always, Election._stand_next, "elect_start"),
    ((Voted,), _always, Election._stand_next, "elect_voted"),
    ((Follower,), _always, Election._stand_next, "elect_unresponsive"),
    ((Electing,), _always, Election._stand_next, "elect_timeo"),
    ((Leader,), _overslept, Election._wait_again, "overslept"),
    ((Leader,), _asked_to_resign, Election._resign, "resigned"),
    ((Leader,), _quorum_is_lost, Election._wait_again, "quorum_lost"),
    ((Leader,), _always, Election._beat, "ping_all"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the message table. `epoch` is the message's, compared with the own one."""

    number: int
    kind: type[Message]
    epoch: Literal["equal", "newer"]
    holds: Callable[[Election, _Heard], bool]
    then: Callable[[Election, _Heard, str], list[Action]]
    counter: str


MESSAGE_TABLE: Final[tuple[Row, ...]] = (
    # For each message the first row that applies. Row 1: whatever is older is only counted.
    # Row 2: two partitions with leaders of one epoch met; a new election makes both schedules parents of the next.
    Row(2, Ping, "equal", _leading, Election._stand_above, "elect_conflict"),
    Row(3, Ping, "equal", _any, Election._follow, "ping"),
    Row(4, Ping, "newer", _any, Election._follow, "newer_ping"),
    Row(5, Pong, "equal", _leading, Election._record_pong, "pong"),
    Row(6, Pong, "equal", _following_fresh, Election._ignore, "unsolicited_pong"),
    Row(7, Pong, "equal", _any, Election._stand_above, "elect_unsolicit_pong"),
    Row(8, Pong, "newer", _following_fresh, Election._ignore, "unsolicited_pong"),
    Row(9, Pong, "newer", _any, Election._stand_above, "elect_newer_pong"),
    Row(10, Vote, "equal", _starting_and_free, Election._vote_for_target, "vote_confirm"),
    Row(11, Vote, "equal", _starting, Election._ignore, "vote_other"),
    Row(12, Vote, "equal", _vote_decides, Election._win, "vote_for_me"),
    Row(13, Vote, "equal", _vote_for_me, Election._add_vote, "vote_for_me"),
    Row(14, Vote, "equal", _electing, Election._ignore, "vote_other"),
    Row(15, Vote, "equal", _repeated_call, Election._confirm_again, "vote_confirm"),
    Row(16, Vote, "equal", _any, Election._ignore, "late_vote"),
    Row(17, Vote, "newer", _my_own, Election._stand_above, "self_elect"),  # an echo of a former life
    Row(18, Vote, "newer", _leading_with_quorum, Election._lift_epoch, "epoch_lift"),
    Row(19, Vote, "newer", _following_fresh, Election._ignore, "sticky"),
    Row(20, Vote, "newer", _any, Election._vote_for_target, "new_vote"),
)

_ROWS: Final[Mapping[tuple[type[Message], str], tuple[Row, ...]]] = {
    (kind, epoch): tuple(row for row in MESSAGE_TABLE if row.kind is kind and row.epoch == epoch)
    for kind in (Ping, Pong, Vote)
    for epoch in ("equal", "newer")
}
