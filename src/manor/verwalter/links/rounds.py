"""The leader's rounds: wait until one is due, run the scheduler in its process, publish what came out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Final

from manor.verwalter.node import Leadership, Node
from manor.verwalter.round_input import scheduler_input
from manor.verwalter.schedule import BadSchedule, Envelope, canonical, descent, hash_of, in_order, take_apart
from manor.verwalter.worker.client import SchedulerWorker
from manor.verwalter.worker.engines import SchedulerFailed, SchedulerLoadFailed
from manor.verwalter.worker.messages import Ran

log = logging.getLogger(__name__)

IDLE_S: Final = 1.0


class Rounds:
    """The scheduler of one daemon, and its rounds while the node leads."""

    def __init__(self, node: Node, woken: asyncio.Event) -> None:
        self.worker: SchedulerWorker | None = None
        self.warnings: tuple[str, ...] = ()
        self._node = node
        self._woken = woken

    async def load(self, directory: Path | None) -> None:
        """Take another scheduler; one that does not load leaves the old one working."""
        node = self._node
        if directory is None:
            node.set_error(
                "scheduler_load", "cannot load: no directory below `scheduler/`; `scheduler/v1` would be right"
            )
            return
        worker = SchedulerWorker(directory, node.settings.scheduler)
        try:
            loaded = await worker.load()
        except SchedulerLoadFailed as error:
            await worker.close()
            node.set_error("scheduler_load", str(error))
            return
        old, self.worker, self.warnings = self.worker, worker, loaded.warnings
        if old is not None:
            await old.close()
        node.scheduler_loaded = True
        node.set_error("scheduler_load", None)
        log.info("scheduler.loaded engine=%s directory=%s hash=%s", loaded.engine, directory, loaded.hash[:8])
        node.wake_round(time.monotonic())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            leadership = self._node.leadership
            due_at = leadership.times.due_at if leadership is not None else None
            pause_s = IDLE_S if due_at is None else due_at - time.monotonic()
            if pause_s > 0 or leadership is None or self.worker is None:
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.001, min(IDLE_S, pause_s))):
                        await self._woken.wait()
                continue
            await self._run_one(leadership, self.worker)

    async def close(self) -> None:
        if self.worker is not None:
            await self.worker.close()

    async def _run_one(self, leadership: Leadership, worker: SchedulerWorker) -> None:
        node = self._node
        now = time.monotonic()
        began_in = node.election.epoch
        leadership.times.starts(now)
        now_ms = leadership.clock.read(int(time.time() * 1000))
        if leadership.clock.behind:
            node.set_error("config", "the wall clock was set back by more than an hour")
        parents = self._parents(leadership)
        given = node.actions.documents()
        document = scheduler_input(node.situation(now, now_ms, parents, given))
        leadership.input = document
        try:
            result = await worker.run(document)
            took_ms = 1000 * (time.monotonic() - now)
            if node.leadership is not leadership or node.election.epoch != began_in:
                log.warning("round.dropped epoch=%s", began_in)
                leadership.times.failed(time.monotonic())
                return
            envelope, asked_in_s = self._envelope(result, parents, now_ms)
        except (SchedulerFailed, SchedulerLoadFailed, BadSchedule) as error:
            self._failed(leadership, error)
            return
        node.figures.scheduling_ms = took_ms
        node.figures.rounds_succeeded += 1
        node.figures.actions_executed += len(given)
        leadership.debug_log = result.log
        leadership.late = ()
        node.set_error("scheduler", None)
        for id in node.actions.succeeded(given, result.answers):
            log.error("action.unknown id=%s", id)
        leadership.times.succeeded(time.monotonic(), asked_in_s)
        node.published(envelope, result.log)

    def _parents(self, leadership: Leadership) -> tuple[Envelope, ...]:
        """Those found after the election in the first successful round; then the own last one and late ones."""
        transport = self._node.transport
        leadership.late = (*leadership.late, *transport.take_late_parents())
        if transport.owned is not None:
            return in_order(transport.owned, leadership.late)
        first = leadership.parents[0] if leadership.parents else None
        return in_order(first, (*leadership.parents, *leadership.late))

    def _envelope(self, result: Ran, parents: tuple[Envelope, ...], now_ms: int) -> tuple[Envelope, float | None]:
        """The schedule in its envelope, and in how many seconds the scheduler wants to be asked again."""
        node = self._node
        outcome = take_apart(result.schedule)
        size, limit = len(canonical(outcome.data)), node.settings.scheduler.max_schedule
        if size > limit:
            raise SchedulerFailed(f"scheduler exceeded its limit of {limit // 1024**2} MiB for a schedule")
        rules = outcome.data.get("query_metrics", {}).get("rules")
        node.metrics_error = "metrics for schedulers are not supported yet" if rules else None
        node.set_error("metrics", node.metrics_error)
        node.set_misshapen("round", "; ".join(outcome.misshapen) or None)
        hash = hash_of(outcome.data)
        envelope = Envelope(
            hash=hash,
            timestamp=now_ms,
            origin=node.identity.id,
            epoch=node.election.epoch,
            ancestors=tuple(ancestor for ancestor in descent(parents) if ancestor[0] != hash),
            changes=outcome.changes,
            data=outcome.data,
        )
        asked_in_s = None if outcome.next_run is None else (outcome.next_run - now_ms) / 1000
        return envelope, asked_in_s

    def _failed(self, leadership: Leadership, error: Exception) -> None:
        node = self._node
        now = time.monotonic()
        leadership.times.failed(now)
        text = str(error)
        leadership.debug_log = f"{getattr(error, 'debug_log', '')}\n{text}".strip()
        node.figures.rounds_failed += 1
        domain = "scheduler_load" if isinstance(error, SchedulerLoadFailed) else "scheduler"
        node.set_error(domain, text)
        if leadership.times.failing_for(now) >= node.settings.scheduler.fail_limit:
            log.error("leader.resigns reason=the scheduler fails")
            node.resign()


def active_directory(config_dir: Path, active: str | None) -> Path | None:
    """The scheduler to run: as set, else `v1`, else the highest version."""
    schedulers = config_dir / "scheduler"
    if active is not None:
        return schedulers / active
    if (schedulers / "v1").is_dir():
        return schedulers / "v1"
    try:
        found = [path for path in schedulers.iterdir() if path.is_dir() and not path.name.startswith((".", "#"))]
    except OSError:
        return None
    return max(found, key=_version_order, default=None)


def _version_order(path: Path) -> list[tuple[int, int, str]]:
    """`v10` is above `v9`: runs of digits compare as numbers."""
    words: list[tuple[int, int, str]] = []
    text = ""
    for letter in f"{path.name}\0":
        if text and text[-1].isdigit() != letter.isdigit():
            words.append((1, int(text), "") if text.isdecimal() else (0, 0, text))
            text = ""
        text += letter
    return words
