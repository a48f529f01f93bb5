"""What the pusher does next, for each node. Pure: events in, actions out; `push.py` performs them.

Theory of operation. Each node goes through the states of the table below, at most `parallel` of them at a time. Trouble
while asking, sending or verifying is tried again, three times, five seconds apart. A node that had answered and then is
gone (it restarts) does not use up its tries: it is asked again until the time of the whole push is over. What a node
refuses is final.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

RETRIES_MAX: Final = 3
RETRY_AFTER_S: Final = 5.0


class State(Enum):
    WAITING = "waiting"
    ASKING = "asking"
    SENDING = "sending"
    VERIFYING = "verifying"
    PAUSED = "trying again"
    READY = "ready"
    FAILED = "failed"


class Wait(Enum):
    """When to return."""

    ALL = "all"
    MAJORITY = "majority"


class Why(Enum):
    """What stopped a node, and what that means for it."""

    UNREACHABLE = "unreachable"  # nobody answers: later, perhaps
    TROUBLE = "trouble"  # a transfer that broke, bytes that did not verify: again
    REFUSED = "refused"  # final
    TAKEN = "taken"  # final: the name exists with other contents
    UNAUTHORISED = "unauthorised"  # final


# Events.


@dataclass(frozen=True, slots=True)
class Started:
    """There is a free place."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The node wants it, and where."""

    staging: str
    link_dest: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """Every byte is there."""


@dataclass(frozen=True, slots=True)
class Had:
    """It is visible there, now or since long."""


@dataclass(frozen=True, slots=True)
class Stopped:
    why: Why
    text: str


@dataclass(frozen=True, slots=True)
class Due:
    """The pause is over."""


Event: TypeAlias = Started | Wanted | Sent | Had | Stopped | Due

TRANSITIONS: Final[Mapping[State, Mapping[type[Event], State]]] = {
    State.WAITING: {Started: State.ASKING},
    State.ASKING: {Wanted: State.SENDING, Had: State.READY, Stopped: State.PAUSED},
    State.SENDING: {Sent: State.VERIFYING, Stopped: State.PAUSED},
    State.VERIFYING: {Had: State.READY, Stopped: State.PAUSED},
    State.PAUSED: {Due: State.ASKING},
}
BUSY: Final = (State.ASKING, State.SENDING, State.VERIFYING)
OVER: Final = (State.READY, State.FAILED)


# Actions.


@dataclass(frozen=True, slots=True)
class Ask:
    node: str


@dataclass(frozen=True, slots=True)
class Send:
    node: str
    staging: str
    link_dest: str | None


@dataclass(frozen=True, slots=True)
class Verify:
    node: str


Action: TypeAlias = Ask | Send | Verify


@dataclass(slots=True)
class NodePush:
    """One node on its way."""

    name: str
    state: State = State.WAITING
    tries: int = 0  # that failed
    answered: bool = False
    due_at: float = 0.0  # of a pause
    why: Why | None = None
    error: str = ""


@dataclass(slots=True)
class PushPlan:
    """All nodes of one push. Call `tick` when it is made and about every second; perform the actions in order."""

    names: Sequence[str]
    parallel: int
    wait: Wait
    ends_at: float  # on the caller's clock
    nodes: dict[str, NodePush] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = {name: NodePush(name) for name in self.names}

    def tick(self, now: float) -> list[Action]:
        """Start what may start; give up what is late."""
        if now >= self.ends_at:
            for node in self.nodes.values():
                if node.state not in OVER:
                    node.error = f"time is over{': ' + node.error if node.error else ''}"
                    node.why = node.why or Why.TROUBLE
                    node.state = State.FAILED
        actions: list[Action] = []
        for node in self.nodes.values():
            if node.state is State.PAUSED and now >= node.due_at:
                actions += self._begin(node, Due())
            elif node.state is State.WAITING:
                actions += self._begin(node, Started())
        return actions

    def receive(self, name: str, event: Event, now: float) -> list[Action]:
        """What a node's last action came to."""
        node = self.nodes[name]
        if node.state is State.FAILED:
            return []  # it was given up while its action was still under way
        self._step(node, event)
        node.answered = node.answered or not isinstance(event, Stopped)
        actions: list[Action] = []
        if isinstance(event, Stopped):
            self._stop(node, event, now)
        elif isinstance(event, Wanted):
            actions.append(Send(name, event.staging, event.link_dest))
        elif isinstance(event, Sent):
            actions.append(Verify(name))
        return actions + self.tick(now)

    @property
    def is_over(self) -> bool:
        ready = sum(node.state is State.READY for node in self.nodes.values())
        if self.wait is Wait.MAJORITY and ready * 2 > len(self.nodes):
            return True
        return all(node.state in OVER for node in self.nodes.values())

    @property
    def exit_status(self) -> int:
        """As the table of the command says: the gravest of what happened, 0 if all that was waited for is there."""
        failed = [node for node in self.nodes.values() if node.state is State.FAILED]
        whys = {node.why for node in failed}
        if Why.TAKEN in whys:
            return 8
        ready = sum(node.state is State.READY for node in self.nodes.values())
        if not failed or (self.wait is Wait.MAJORITY and ready * 2 > len(self.nodes)):
            return 0
        if Why.UNAUTHORISED in whys:
            return 5
        return 3 if whys == {Why.UNREACHABLE} and len(failed) == len(self.nodes) else 1

    def _begin(self, node: NodePush, event: Started | Due) -> list[Action]:
        if sum(other.state in BUSY for other in self.nodes.values()) >= self.parallel:
            return []
        self._step(node, event)
        return [Ask(node.name)]

    def _stop(self, node: NodePush, event: Stopped, now: float) -> None:
        node.why, node.error = event.why, event.text
        node.tries += not (event.why is Why.UNREACHABLE and node.answered)
        if event.why not in (Why.UNREACHABLE, Why.TROUBLE) or node.tries > RETRIES_MAX:
            node.state = State.FAILED
        node.due_at = now + RETRY_AFTER_S

    @staticmethod
    def _step(node: NodePush, event: Event) -> None:
        following = TRANSITIONS.get(node.state, {}).get(type(event))
        assert following is not None, f"{node.name} is {node.state.value}: {event} cannot happen now"
        node.state = following
