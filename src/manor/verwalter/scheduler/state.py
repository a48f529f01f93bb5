"""What the scheduler remembers from round to round: `state` of its own schedule.

Times are stored only where something was decided, never measured values: a round that decides nothing gives the
state of the round before, and so the same schedule.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Direction = Literal["forward", "backward", "pause", "error"]
START, ROLLING, DONE, REVERT_DONE = "start", "rolling", "done", "revert_done"


class Stage(msgspec.Struct, kw_only=True, frozen=True):
    """One stage of an update; only `smooth` is made here, the fields are those of every kind."""

    name: str
    kind: Literal["smooth"]
    processes: tuple[str, ...]
    forward_mode: Literal["smooth"]
    forward_time: float  # seconds for all substeps
    backward_mode: Literal["smooth"]
    backward_time: float
    substeps: int


class Update(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An update under way. All `_ts` are ms since 1970."""

    id: str
    source_ver: str
    target_ver: str
    pipeline: list[Stage]
    step: str
    smooth_step: int
    direction: Direction
    start_ts: int
    step_ts: int  # when the stage began
    change_ts: int  # when the substep began
    was: Direction | None = None
    pause_ts: int | None = None
    unready_ts: int | None = None  # since when target instances have been missing
    image_ts: int | None = None  # since when an image has been waited for
    auto: bool = False
    error_message: str | None = None

    @property
    def heading(self) -> Direction:
        """The direction, seen through a pause."""
        return (self.was or "forward") if self.direction in ("pause", "error") else self.direction


class RoleState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is remembered of a role."""

    version: str
    version_ts: int
    version_by: str = ""
    auto_update: bool | None = None  # None: as the declaration says
    auto_update_ts: int = 0
    update: Update | None = None
    last_deployed: dict[str, int] = {}
    failed: dict[str, int] = {}  # versions that were rolled back automatically, and when
    place: dict[str, dict[str, dict[str, int]]] = {}  # daemon -> slot -> host name -> instances
    slots: dict[str, str] = {}  # `a`, `b` -> version
    overrides: dict[str, int] = {}
    overrides_ts: dict[str, int] = {}
    hosts: list[str] = []  # where the role has, or ever had, something

    def slot_of(self, version: str) -> str | None:
        return next((slot for slot, name in sorted(self.slots.items()) if name == version), None)


class ClusterState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is remembered of the cluster as a whole."""

    died: dict[str, int] = {}  # host name -> when it was found dead, ms


def read_role_state(value: object) -> RoleState | None:
    """None where it is not a valid state: such a role is frozen, never started from nothing."""
    try:
        return msgspec.convert(value, RoleState)
    except msgspec.ValidationError:
        return None


def read_cluster_state(value: object) -> ClusterState:
    try:
        return msgspec.convert(value or {}, ClusterState)
    except msgspec.ValidationError:
        return ClusterState()


def plain(state: RoleState | ClusterState) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(state)
    return document
