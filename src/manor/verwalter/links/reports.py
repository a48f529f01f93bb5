"""Node reports on their way: made from what is here, sent to the leader after changes and every half minute."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import time
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from manor.config.errors import ConfigError
from manor.lithos.process_config import MasterStatus, read_status
from manor.trust.requests import sign
from manor.verwalter.node import Node
from manor.verwalter.reports import (
    REPORT_BYTES_MAX,
    REPORT_EVERY_S,
    REPORTS_BETWEEN_S,
    LithosHere,
    OwnState,
    find_lithos,
    images_of,
    instances_of,
    machine_load,
    node_report,
)

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.25  # how soon a change of lithos' status is seen; one stat(2)
IMAGES_EVERY_S: Final = 5.0
INCOMING_EVERY_S: Final = 1.0
SEND_WITHIN_S: Final = 3.0
COMPRESS_ABOVE_BYTES: Final = 1024
PATH: Final = "/v1/node_report"


class Incoming(Protocol):
    """What of images is on its way to a sandbox: name -> share of its bytes."""

    def __call__(self, sandbox: str) -> dict[str, float]: ...


class Reporter:
    """The node's own report, kept up to date and told to the leader."""

    def __init__(self, node: Node, session: aiohttp.ClientSession, woken: asyncio.Event, incoming: Incoming) -> None:
        self.lithos: LithosHere | None = None
        self._node = node
        self._session = session
        self._woken = woken
        self._incoming = incoming
        self._status: MasterStatus | None = None
        self._status_stamp: tuple[int, int, int] | None = None
        self._images: dict[str, list[str]] = {}
        self._images_at = float("-inf")
        self._on_the_way: dict[str, dict[str, float]] = {}
        self._incoming_at = float("-inf")
        self._sent_at = float("-inf")
        self._sent_to: str | None = None
        self._sent_what: bytes = b""

    def look_at_images_soon(self) -> None:
        """An image may just have come."""
        self._images_at = float("-inf")
        self._woken.set()

    def look_for_lithos(self) -> None:
        """Read lithos' configuration: at the start, and again now and then, since sandboxes come and go."""
        try:
            self.lithos = find_lithos(Path(self._node.settings.lithos.master))
        except ConfigError as error:
            self._node.set_error("config", str(error).splitlines()[0])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            self._woken.clear()
            await self._refresh()
            await self._tell_leader()
            await asyncio.sleep(0.05)  # whatever happens, at most twenty looks a second

    async def _refresh(self) -> None:
        """The report of this moment becomes the node's own."""
        now = time.monotonic()
        if now - self._images_at >= IMAGES_EVERY_S:
            self._images_at = now
            await asyncio.to_thread(self.look_for_lithos)
            await asyncio.to_thread(self._look_at_images)
        if now - self._incoming_at >= INCOMING_EVERY_S:
            self._incoming_at = now
            await asyncio.to_thread(self._look_at_incoming)
        self._look_at_status()
        node = self._node
        node.own_report = node_report(
            OwnState(
                id=node.identity.id,
                hostname=node.identity.hostname,
                schedule=None if node.transport.stable is None else node.transport.stable.hash,
                deployed=node.deployer.deployed,
                failed_roles=node.deployer.failed,
                orphaned_roles=node.deployer.orphaned,
                errors=dict(node.errors),
            ),
            node.machine,
            self._images,
            self._on_the_way,
            instances_of(self._status),
            machine_load(),
            int(time.time() * 1000),
        )

    def _look_at_images(self) -> None:
        sandboxes = self.lithos.sandboxes if self.lithos is not None else {}
        self._images = {name: images_of(sandbox) for name, sandbox in sandboxes.items()}

    def _look_at_incoming(self) -> None:
        self._on_the_way = {name: self._incoming(name) for name in self._images}

    def _look_at_status(self) -> None:
        if self.lithos is None:
            self._status = None
            return
        try:
            found = self.lithos.status_file.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            self._status, self._status_stamp = None, None
            return
        if stamp == self._status_stamp:
            return
        try:
            self._status, self._status_stamp = read_status(self.lithos.status_file), stamp
        except (ValueError, OSError) as error:
            log.warning("lithos.status_unreadable reason=%s", error)

    async def _tell_leader(self) -> None:
        """When something changed, or half a minute has passed; never twice within a second."""
        node, now = self._node, time.monotonic()
        address = node.leader_address()
        if node.is_leader or address is None or node.own_report is None:
            self._sent_to = None
            return
        essence = _essence(node.own_report)
        due = address != self._sent_to or essence != self._sent_what or now - self._sent_at >= REPORT_EVERY_S
        if not due or now - self._sent_at < REPORTS_BETWEEN_S:
            return
        self._sent_at = now
        if await self._send(address, node.own_report):
            self._sent_to, self._sent_what = address, essence

    async def _send(self, address: str, report: dict[str, Any]) -> bool:
        body = msgspec.json.encode(report)
        if len(body) > REPORT_BYTES_MAX:
            self._node.set_error("config", f"the node report has {len(body)} bytes; {REPORT_BYTES_MAX} are the most")
            return False
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        keys = self._node.request_keys
        if keys is not None:
            own_id = self._node.identity.id
            headers["Authorization"] = sign(keys, method="POST", path=PATH, body=body, node_id=own_id, now=time.time())
        if len(body) > COMPRESS_ABOVE_BYTES:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        try:
            async with (
                asyncio.timeout(SEND_WITHIN_S),
                self._session.post(f"http://{address}{PATH}", data=body, headers=headers) as response,
            ):
                if response.status == 200:
                    return True
                log.info("report.refused leader=%s status=%s", address, response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("report.unsent leader=%s reason=%s", address, error or type(error).__name__)
        return False


def _essence(report: dict[str, Any]) -> bytes:
    """The report without what changes all the time."""
    return msgspec.json.encode({key: value for key, value in report.items() if key not in ("at", "load")})
