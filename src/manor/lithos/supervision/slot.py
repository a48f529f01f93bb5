"""What the core remembers of one instance."""

from __future__ import annotations

from dataclasses import dataclass, field

from manor.lithos.files.names import InstanceName
from manor.lithos.files.record import Record
from manor.lithos.rules.settle import Instance, SettledProbe
from manor.lithos.supervision.desired import Broken
from manor.lithos.supervision.phases import ALIVE, Phase, Step, after


@dataclass(slots=True)
class ProbeCourse:
    """Where a readiness or health probe stands."""

    next_at: float
    in_flight: bool = False
    failures: int = 0
    last_failure: str | None = None


@dataclass(slots=True)
class Slot:
    """One name: at most one container, and what is wanted for it. Times are on the core's clock."""

    name: InstanceName
    phase: Phase
    since: float
    instance: Instance | None = None  # what to start; None: retired, broken or frozen
    broken: Broken | None = None
    record: Record | None = None  # of the container that runs, from Launch to Cleaned
    upgrading: bool = False  # the container that runs is an older one, to be replaced
    not_before: float = 0.0  # of the next start
    ever_ready: bool = False
    restarts: int = 0
    started_before: bool = False
    error: str | None = None
    stop_asked_at: float | None = None  # a stop that waits for its dependents
    probe: ProbeCourse | None = field(default=None)

    @property
    def text(self) -> str:
        return str(self.name)

    @property
    def alive(self) -> bool:
        return self.phase in ALIVE

    @property
    def active_probe(self) -> SettledProbe | None:
        """The probe that runs now: readiness while starting, health while ready. An older container has none."""
        if self.instance is None or self.upgrading:
            return None
        if self.phase is Phase.STARTING:
            return self.instance.readiness
        return self.instance.health if self.phase is Phase.READY else None

    def step(self, step: Step, now: float) -> None:
        self.phase = after(self.phase, step)
        self.since = now
        self.probe = None
