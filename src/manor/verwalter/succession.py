"""From elections to schedules: tells the transport who leads, once for each change. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from manor.verwalter.election.machine import Election, Follower, Leader
from manor.verwalter.election.messages import NodeId
from manor.verwalter.transport.core import Action, Transport


@dataclass(frozen=True, slots=True)
class Change:
    """What the transport wants done now, and whether an own leadership has ended or begun."""

    actions: tuple[Action, ...]
    ended: bool = False
    begun: bool = False


NOTHING = Change(())


class Succession:
    """Look after every call of the election. Raising the epoch of an own leadership is no change."""

    def __init__(self, election: Election, transport: Transport) -> None:
        self._election = election
        self._transport = transport
        self._leads = False
        self._led = 0  # how often the node had become leader when the transport was told
        self._leader: NodeId | None = None

    def look(self, responsive: Iterable[NodeId], now: float) -> Change:
        election, transport = self._election, self._transport
        ended = self._leads
        match election.state:
            case Leader():
                if election.counts["became_leader"] == self._led:
                    return NOTHING
                self._led, self._leads, self._leader = election.counts["became_leader"], True, election.own_id
                return Change(tuple(transport.leads(responsive, now)), ended=ended, begun=True)
            case Follower(leader=leader):
                if leader == self._leader:
                    return NOTHING
                self._leads, self._leader = False, leader
                return Change(tuple(transport.follows(leader, now)), ended=ended)
        if self._leader is None:
            return NOTHING
        self._leads, self._leader = False, None
        transport.lost()
        return Change((), ended=ended)
