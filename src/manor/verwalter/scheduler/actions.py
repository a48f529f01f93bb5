"""What operators push: each action changes a role's state or is refused, and gets an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from manor.verwalter.scheduler import updates
from manor.verwalter.scheduler.declaration import COUNT_MAX, Role
from manor.verwalter.scheduler.state import RoleState
from manor.verwalter.scheduler.versions import Versions


class Refused(Exception):
    """Becomes the answer `{"ok": false, "error": …}`."""


@dataclass(slots=True)
class RoleRound:
    """A role in this round, while actions change it."""

    name: str
    role: Role
    versions: Versions
    state: RoleState
    wanted: Callable[[RoleState], Mapping[str, int]]  # daemon -> instances, as the state now says


def apply_action(target: RoleRound, button: Mapping[str, Any], by: str, now: int) -> str:
    """Change `target.state` as the button asks; returns the text for the answer and the change log.

    Raises:
        Refused: nothing has changed.
    """
    action = button.get("action")
    handler = _ACTIONS.get(action) if isinstance(action, str) else None
    if handler is None:
        known = ", ".join(f"`{name}`" for name in _ACTIONS)
        raise Refused(f"unknown action `{action}`; known are {known}")
    text = handler(target, button, now)
    if by and "version" in text:
        target.state = msgspec.structs.replace(target.state, version_by=by)
    return text


def start_update(target: RoleRound, button: Mapping[str, Any], now: int, *, auto: bool = False) -> str:
    version = _usable(target, button.get("to_version"))
    state = target.state
    if state.update is not None:
        raise Refused(f"an update to {state.update.target_ver} is running; revert it or wait for its end")
    if version == state.version:
        raise Refused(f"{version} is the present version already")
    strategy = target.role.update.strategy
    if strategy == "auto" and target.versions.usable[version].has_pipeline:
        raise Refused(f"metadata of {version} asks for a pipeline, which is not supported yet; set `strategy: rolling`")
    target.state = updates.begin(state, version, target.role.update, target.wanted(state), now, auto=auto)
    return f"update {state.version} -> {version}"


def _force_version(target: RoleRound, button: Mapping[str, Any], now: int) -> str:
    version = _usable(target, button.get("to_version", button.get("version")))
    state = target.state
    slot = state.slot_of(version) or ("b" if state.slot_of(state.version) == "a" else "a")
    target.state = msgspec.structs.replace(
        state,
        version=version,
        version_ts=now,
        update=None,
        slots={slot: version},
        last_deployed={**state.last_deployed, state.version: now},
    )
    return f"version set to {version} at once"


def _scale(target: RoleRound, button: Mapping[str, Any], now: int) -> str:
    name, count = button.get("daemon"), button.get("count")
    if name not in target.role.daemons:
        raise Refused(f"unknown daemon `{name}`; known are {', '.join(target.role.daemons) or 'none'}")
    state = target.state
    times = {**state.overrides_ts, name: now}
    if count == "auto":
        rest = {daemon: number for daemon, number in state.overrides.items() if daemon != name}
        target.state = msgspec.structs.replace(state, overrides=rest, overrides_ts=times)
        return f"{name} as declared"
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= COUNT_MAX:
        raise Refused(f"count `{count}` is not a number from 0 to {COUNT_MAX}, nor `auto`")
    target.state = msgspec.structs.replace(state, overrides={**state.overrides, name: count}, overrides_ts=times)
    return f"{name} scaled to {count}"


def _auto_update(on: bool) -> Callable[[RoleRound, Mapping[str, Any], int], str]:
    def handler(target: RoleRound, button: Mapping[str, Any], now: int) -> str:
        target.state = msgspec.structs.replace(target.state, auto_update=on, auto_update_ts=now)
        return f"automatic updates {'on' if on else 'off'}"

    return handler


def _update_action(target: RoleRound, button: Mapping[str, Any], now: int) -> str:
    update = target.state.update
    what, step = button.get("update_action"), button.get("step")
    if update is None:
        raise Refused("no update is running")
    if step is not None and step != update.step:
        raise Refused(f"the update is at step `{update.step}`, not `{step}`")
    copy = msgspec.structs.replace(update)
    if what == "pause" and copy.direction in ("forward", "backward"):
        copy.was, copy.direction, copy.pause_ts = copy.direction, "pause", now
    elif what == "resume" and copy.direction in ("pause", "error"):
        copy.direction, copy.was, copy.pause_ts, copy.change_ts = copy.heading, None, None, now
        copy.unready_ts, copy.image_ts, copy.error_message = None, None, None
    elif what == "revert" and copy.heading == "forward":
        copy.direction, copy.was, copy.pause_ts, copy.change_ts = "backward", None, None, now
        copy.unready_ts, copy.image_ts = None, None
    elif what == "error":
        copy.was, copy.direction, copy.pause_ts = copy.heading, "error", now
        copy.error_message = str(button.get("error_message") or "stopped by an operator")
    else:
        raise Refused(f"`{what}` does not fit an update that goes {copy.direction} by mode smooth")
    target.state = msgspec.structs.replace(target.state, update=copy)
    return f"update {what}"


def _usable(target: RoleRound, version: object) -> str:
    if isinstance(version, str) and version in target.versions.usable:
        return version
    if version in target.versions.bad:
        raise Refused(f"version {version} cannot be used: {target.versions.bad[str(version)]}")
    known = ", ".join(target.versions.newest_first) or "none"
    raise Refused(f"unknown version `{version}`; known are {known}")


_ACTIONS: dict[str, Callable[[RoleRound, Mapping[str, Any], int], str]] = {
    "start_update": start_update,
    "force_version": _force_version,
    "quick_switch": _force_version,
    "update_action": _update_action,
    "scale": _scale,
    "enable_auto_update": _auto_update(True),
    "disable_auto_update": _auto_update(False),
}
