"""From one version to another: the stages of an update, its tick, and how many instances each version has meanwhile.

Only the rolling strategy is made here: one stage, `substeps` steps, each at least `warmup` long, each begun when the
instances of the one before are there and ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from manor.verwalter.scheduler import declaration
from manor.verwalter.scheduler.nodes import Node
from manor.verwalter.scheduler.state import DONE, REVERT_DONE, ROLLING, START, RoleState, Stage, Update

READY = "ready"


def rolling_pipeline(settings: declaration.Update, wanted: Mapping[str, int]) -> list[Stage]:
    """One `smooth` stage for all daemons; as many substeps as the largest of them needs."""
    largest = max(wanted.values(), default=0)
    batch = settings.batch or max(1, math.floor(largest * settings.batch_percent / 100))
    substeps = max(1, math.ceil(largest / batch))
    time_s = settings.warmup * substeps
    return [
        Stage(
            name=ROLLING,
            kind="smooth",
            processes=tuple(sorted(wanted)),
            forward_mode="smooth",
            forward_time=time_s,
            backward_mode="smooth",
            backward_time=time_s,
            substeps=substeps,
        )
    ]


def begin(
    state: RoleState, target: str, settings: declaration.Update, wanted: Mapping[str, int], now: int, *, auto: bool
) -> RoleState:
    """The state with an update to `target` begun; the caller has checked that it may."""
    free = "b" if state.slot_of(state.version) == "a" else "a"
    update = Update(
        id=f"{now}-{target}",
        source_ver=state.version,
        target_ver=target,
        pipeline=rolling_pipeline(settings, wanted),
        step=START,
        smooth_step=0,
        direction="forward",
        start_ts=now,
        step_ts=now,
        change_ts=now,
        auto=auto,
    )
    slots = {slot: version for slot, version in state.slots.items() if version == state.version}
    return msgspec.structs.replace(state, update=update, slots={**slots, free: target})


@dataclass(frozen=True, slots=True)
class Progress:
    """What a tick has to know of the cluster."""

    reached: bool  # the instances of the present substep are placed and ready
    missing: bool  # some placed target instance is not ready
    images_present: bool  # everywhere where the next substep may put an instance


def tick(state: RoleState, settings: declaration.Update, progress: Progress, now: int) -> tuple[RoleState, list[str]]:
    """At most one change of the update, and lines that say what changed."""
    update = state.update
    if update is None:
        return state, []
    copy = msgspec.structs.replace(update)
    if copy.step == DONE:
        return _finish(state, copy, copy.target_ver, now)
    if copy.step == REVERT_DONE:
        return _finish(state, copy, copy.source_ver, now)
    if copy.step == START:
        copy.step, copy.step_ts, copy.change_ts, copy.smooth_step = copy.pipeline[0].name, now, now, 0
        return msgspec.structs.replace(state, update=copy), []
    stage = next((stage for stage in copy.pipeline if stage.name == copy.step), None)
    if stage is None:
        copy.direction, copy.was = "error", copy.heading
        copy.error_message, copy.pause_ts = f"there is no stage `{copy.step}`", copy.pause_ts or now
        changed = copy.direction != update.direction
        return msgspec.structs.replace(state, update=copy), [f"update stopped: {copy.error_message}"] if changed else []

    if copy.direction in ("pause", "error"):
        if now - (copy.pause_ts or now) > settings.pause_limit * 1000:
            return _turn_back(state, copy, now, "it was paused for too long")
        return state, []
    copy.unready_ts = (copy.unready_ts or now) if progress.missing else None
    if copy.direction == "forward":
        if copy.unready_ts is not None and now - copy.unready_ts > settings.up_timeout * 1000:
            return _on_failure(state, copy, settings, now, f"instances of {copy.target_ver} do not become ready")
        wants_more = copy.smooth_step < stage.substeps
        waits = wants_more and settings.require_images and not progress.images_present
        copy.image_ts = (copy.image_ts or now) if waits else None
        if copy.image_ts is not None and now - copy.image_ts > settings.image_timeout * 1000:
            return _on_failure(state, copy, settings, now, f"an image of {copy.target_ver} is missing on some node")
    else:
        copy.image_ts = None

    substep_ms = (stage.forward_time if copy.direction == "forward" else stage.backward_time) * 1000 / stage.substeps
    if progress.reached and copy.image_ts is None and now - copy.change_ts > substep_ms:
        copy.change_ts = now
        if copy.direction == "forward":
            copy.smooth_step += 1
            if copy.smooth_step > stage.substeps:
                copy.smooth_step, copy.step = stage.substeps, DONE
        else:
            copy.smooth_step -= 1
            if copy.smooth_step < 0:
                copy.smooth_step, copy.step = 0, REVERT_DONE
    return msgspec.structs.replace(state, update=copy), []


def _finish(state: RoleState, update: Update, stays: str, now: int) -> tuple[RoleState, list[str]]:
    other = update.source_ver if stays == update.target_ver else update.target_ver
    finished = msgspec.structs.replace(
        state,
        update=None,
        slots={slot: version for slot, version in state.slots.items() if version == stays},
        last_deployed={**state.last_deployed, other: now},
    )
    if stays == update.target_ver:
        finished = msgspec.structs.replace(finished, version=stays, version_ts=now)
        return finished, [f"updated {update.source_ver} -> {stays}"]
    return finished, [f"back on {stays}"]


def _on_failure(
    state: RoleState, update: Update, settings: declaration.Update, now: int, why: str
) -> tuple[RoleState, list[str]]:
    if settings.on_failure == "pause":
        update.was, update.direction, update.pause_ts, update.error_message = update.direction, "pause", now, why
        return msgspec.structs.replace(state, update=update), [f"update paused: {why}"]
    state = msgspec.structs.replace(state, failed={**state.failed, update.target_ver: now})
    return _turn_back(state, update, now, why)


def _turn_back(state: RoleState, update: Update, now: int, why: str) -> tuple[RoleState, list[str]]:
    update.direction, update.was, update.pause_ts, update.unready_ts, update.image_ts = (
        "backward",
        None,
        None,
        None,
        None,
    )
    update.error_message, update.change_ts = why, now
    return msgspec.structs.replace(state, update=update), [f"turning back to {update.source_ver}: {why}"]


def target_percent(update: Update) -> float:
    """Share of instances that the present step gives to the target."""
    if update.step == DONE:
        return 100.0
    if update.step in (START, REVERT_DONE):
        return 0.0
    stage = next((stage for stage in update.pipeline if stage.name == update.step), None)
    return 0.0 if stage is None else math.floor(update.smooth_step / stage.substeps * 100)


def goals(wanted: int, percent: float) -> tuple[int, int]:
    """Target and source counts that a percentage means."""
    target = int(wanted * percent // 100)
    return target, wanted - target


def approach(
    growing: int, shrinking: int, goal_growing: int, goal_shrinking: int, wanted: int, ready: int,
    settings: declaration.Update,
) -> tuple[int, int]:  # fmt: skip
    """The next counts on the way to the goals, never fewer than `wanted - max-unavailable` serving.

    Wanted 10, goals 2 and 8, surge 1: 1 + 10, (one is ready) 2 + 9, (two are ready) 2 + 8.

    Args:
        growing, shrinking: what is scheduled now.
        ready: instances of the growing version that serve.
    """
    unavailable = settings.max_unavailable
    if settings.max_surge == 0 and unavailable == 0:
        unavailable = 1  # otherwise nothing could ever move
    most = wanted + settings.max_surge
    # Turned back half-way, both may stand beyond their goals: nothing that serves is taken away for arithmetic.
    shrinking = max(min(goal_shrinking, most - growing), min(shrinking, wanted - unavailable - ready))
    growing = max(min(goal_growing, most - shrinking), min(growing, wanted))
    return growing, shrinking


def ready_instances(
    nodes: Mapping[str, Node], entry: str, counts: Mapping[str, int], image: str, now: int,
    settings: declaration.Update, *, scheduled_since: int,
) -> int:  # fmt: skip
    """How many of the placed instances of one lithos entry serve, by the nodes' reports.

    Args:
        entry: `SANDBOX/PROCESS`.
        counts: host name -> instances placed there.
        scheduled_since: on nodes without lithos, which report no instances, they count `warmup` after this moment.
    """
    warm: Callable[[Node], bool] = lambda node: now - scheduled_since > settings.warmup * 1000  # noqa: E731
    total = 0
    for host, count in counts.items():
        node = nodes.get(host)
        if node is None or not node.reported:
            continue
        if node.instances is None:
            total += count if warm(node) else 0
            continue
        serving = 0
        for number in range(count):
            one = node.instances.get(f"{entry}.{number}")
            if one and one.state == READY and one.image == image and now - one.since >= settings.health.min_age * 1000:
                serving += 1
        total += serving
    return total
