"""The daemon's own numbers, where cantal finds them: the file named by `CANTAL_PATH`."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from manor.cantal import client
from manor.verwalter.node import Node

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0  # half of cantal's own interval


async def publish(node: Node) -> None:
    """Until cancelled; without `CANTAL_PATH` nothing is published."""
    if not os.environ.get("CANTAL_PATH"):
        await asyncio.Event().wait()
    executed = client.Counter(group="global", metric="actions_executed")
    errors = client.Level(group="global", metric="current_errors")
    failing = client.Level(group="global", metric="current_failing")
    failed = client.Counter(group="global", metric="roles_failed")
    known = client.Level(group="peers", metric="known")
    leads = client.Level(group="election", metric="is_leader")
    epoch = client.Level(group="election", metric="epoch")
    scheduling = client.Float(group="scheduler", metric="scheduling_time")
    rendering = client.Float(group="render", metric="render_time")
    try:
        client.start()
    except OSError as error:
        log.warning("metrics.unpublished reason=%s", error)
        await asyncio.Event().wait()
    before_executed = before_failed = 0
    while True:
        executed.incr(node.figures.actions_executed - before_executed)
        failed.incr(node.deployer.roles_failed - before_failed)
        before_executed, before_failed = node.figures.actions_executed, node.deployer.roles_failed
        errors.set(len(node.errors))
        failing.set(len(node.deployer.failed))
        known.set(len(node.membership.peers))
        leads.set(int(node.is_leader))
        epoch.set(node.election.epoch)
        scheduling.set(node.figures.scheduling_ms)
        rendering.set(node.deployer.last_ms)
        await asyncio.sleep(EVERY_S)
