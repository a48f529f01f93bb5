"""What the nodes say to each other in an election, and what the machine asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass

NodeId = str  # a machine id in lower-case hexadecimal


@dataclass(frozen=True, slots=True)
class Ping:
    """Leader to all: I lead in this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Follower to leader: I follow you in this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Vote:
    """Candidate to all with itself as target; voter to candidate as confirmation."""

    epoch: int
    target: NodeId


Message = Ping | Pong | Vote


@dataclass(frozen=True, slots=True)
class PingAll:
    epoch: int


@dataclass(frozen=True, slots=True)
class VoteAll:
    """Ask for votes: everybody, or at the repetition only those who have not answered."""

    epoch: int
    answered: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class Confirm:
    epoch: int
    target: NodeId


@dataclass(frozen=True, slots=True)
class SendPong:
    epoch: int
    leader: NodeId


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to disk, and only then go on with the actions behind this one."""

    epoch: int
    voted_for: NodeId | None


Action = PingAll | VoteAll | Confirm | SendPong | Persist
