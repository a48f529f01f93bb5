"""What the core is told (events) and what it asks for (actions)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from manor.lithos.files.record import Record
from manor.lithos.rules.settle import Instance, SettledProbe
from manor.lithos.supervision.endings import Ending

# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launched:
    """The container runs; record is the one of the Launch action, completed with pids, cgroup and ports."""

    name: str
    record: Record


@dataclass(frozen=True, slots=True)
class NotLaunched:
    """Nothing runs and nothing is left. refused: the runtime was not even called."""

    name: str
    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The init of the container is gone, and all its processes with it."""

    name: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class Cleaned:
    name: str


@dataclass(frozen=True, slots=True)
class ProbeDone:
    """The answer to RunProbe of the container with this id and start."""

    name: str
    started_at: float
    failure: str | None


class Notice(Enum):
    READY = "READY=1"
    WATCHDOG = "WATCHDOG=1"


@dataclass(frozen=True, slots=True)
class Notified:
    """A process of the container wrote to its NOTIFY_SOCKET."""

    name: str
    notice: Notice


@dataclass(frozen=True, slots=True)
class StopAll:
    """The master is asked to end."""


@dataclass(frozen=True, slots=True)
class Hold:
    """No more starts: the master is about to execute itself."""


Event = Launched | NotLaunched | Ended | Cleaned | ProbeDone | Notified | StopAll | Hold

# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a container; write the record (state `starting`) before the runtime is called."""

    instance: Instance
    record: Record


@dataclass(frozen=True, slots=True)
class WriteRecord:
    record: Record


@dataclass(frozen=True, slots=True)
class SendSignal:
    """To the init of the container, which passes it on."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Clean:
    """Delete the container in the runtime, its state dir, bundle, cgroup and record; then say Cleaned."""

    record: Record


@dataclass(frozen=True, slots=True)
class RunProbe:
    name: str
    started_at: float
    probe: SettledProbe


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the log of the master and of the sandbox."""

    level: Literal["error", "warn", "info"]
    sandbox: str
    text: str


@dataclass(frozen=True, slots=True)
class WriteOutput:
    """A line beside the output of the processes."""

    record: Record
    text: str


@dataclass(frozen=True, slots=True)
class Count:
    """One more `started`, `deaths`, `failures` or `unhealthy` of an entry."""

    entry: str
    counter: Literal["started", "deaths", "failures", "unhealthy"]


Action = Launch | WriteRecord | SendSignal | Clean | RunProbe | Say | WriteOutput | Count
