"""The life of one instance as a table. What is not in it is a mistake of ours and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from manor.lithos.files.status import InstanceState


class Phase(Enum):
    WAITING = "waiting"  # no container; for `restart-timeout`, for `after`, or for a free place among the starts
    LAUNCHING = "launching"  # the runtime is being called
    STARTING = "starting"  # runs, not ready yet
    READY = "ready"
    DRAINING = "draining"  # no more ready, `pre-stop-delay` runs
    STOPPING = "stopping"  # the stop signal is sent, the kill timeout runs
    KILLED = "killed"
    CLEANING = "cleaning"  # the processes have ended, what is left is being removed
    BROKEN = "broken"  # no container, and its files forbid one
    GONE = "gone"


class Step(Enum):
    LAUNCH = "launch"
    LAUNCHED = "launched"
    NOT_LAUNCHED = "not launched"
    BECAME_READY = "became ready"
    DRAIN = "drain"
    TERM = "term"
    KILL = "kill"
    ENDED = "ended"
    AGAIN = "again"  # cleaned, and wanted
    FORBIDDEN = "forbidden"  # cleaned, and broken
    DISMISSED = "dismissed"  # cleaned, and no longer wanted


TRANSITIONS: Final[Mapping[Phase, Mapping[Step, Phase]]] = {
    Phase.WAITING: {Step.LAUNCH: Phase.LAUNCHING, Step.DISMISSED: Phase.GONE},
    Phase.LAUNCHING: {Step.LAUNCHED: Phase.STARTING, Step.NOT_LAUNCHED: Phase.WAITING},
    Phase.STARTING: {Step.BECAME_READY: Phase.READY, Step.DRAIN: Phase.DRAINING, Step.ENDED: Phase.CLEANING},
    Phase.READY: {Step.DRAIN: Phase.DRAINING, Step.ENDED: Phase.CLEANING},
    Phase.DRAINING: {Step.TERM: Phase.STOPPING, Step.ENDED: Phase.CLEANING},
    Phase.STOPPING: {Step.KILL: Phase.KILLED, Step.ENDED: Phase.CLEANING},
    Phase.KILLED: {Step.ENDED: Phase.CLEANING},
    Phase.CLEANING: {Step.AGAIN: Phase.WAITING, Step.FORBIDDEN: Phase.BROKEN, Step.DISMISSED: Phase.GONE},
    Phase.BROKEN: {Step.DISMISSED: Phase.GONE},
    Phase.GONE: {},
}

ALIVE: Final = frozenset({Phase.STARTING, Phase.READY, Phase.DRAINING, Phase.STOPPING, Phase.KILLED})
ON_ITS_WAY_OUT: Final = frozenset({Phase.DRAINING, Phase.STOPPING, Phase.KILLED})

PUBLISHED: Final[Mapping[Phase, InstanceState]] = {
    Phase.WAITING: "waiting",
    Phase.LAUNCHING: "starting",
    Phase.STARTING: "starting",
    Phase.READY: "ready",
    Phase.DRAINING: "stopping",
    Phase.STOPPING: "stopping",
    Phase.KILLED: "stopping",
    Phase.CLEANING: "waiting",
    Phase.BROKEN: "broken",
}


def after(phase: Phase, step: Step) -> Phase:
    """The next phase; AssertionError names what is not in the table."""
    assert step in TRANSITIONS[phase], f"no `{step.value}` from `{phase.value}`"
    return TRANSITIONS[phase][step]
