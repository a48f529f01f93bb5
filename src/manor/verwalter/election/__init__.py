"""Who leads: one state machine without I/O, its numbers, and the simulation it has to survive.

`machine.py` is the core (read it first: its two tables are the protocol), `messages.py` what travels and what is to be
done, `numbers.py` every time-out with its reason, `simulation.py` and `invariants.py` the world it is tried in.
The core never knows addresses, packets, schedules or disks.
"""

from manor.verwalter.election.machine import Election, View, needed_votes
from manor.verwalter.election.messages import Confirm, Persist, Ping, PingAll, Pong, SendPong, Vote, VoteAll
from manor.verwalter.election.numbers import ElectionNumbers

__all__ = [
    "Confirm",
    "Election",
    "ElectionNumbers",
    "Persist",
    "Ping",
    "PingAll",
    "Pong",
    "SendPong",
    "View",
    "Vote",
    "VoteAll",
    "needed_votes",
]
