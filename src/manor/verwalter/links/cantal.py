"""Asking the local cantal once a second who the peers are."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from manor.cantal.query_client import CantalError, Client, PeersAnswer
from manor.verwalter.membership import CantalAnswer, CantalPeer
from manor.verwalter.node import Node

TIMEOUT_S: Final = 1.0


async def poll_peers(node: Node, url: str) -> None:
    """Until cancelled. A failed answer is counted, never fatal."""
    clock = asyncio.get_running_loop().time
    async with Client(url, timeout=TIMEOUT_S) as cantal:
        while True:
            next_at = clock() + node.settings.election.refresh
            try:
                answer = await cantal.peers()
            except CantalError as error:
                node.cantal_failed(str(error), time.monotonic())
            except msgspec.DecodeError as error:
                node.cantal_failed(f"{url}: the answer is no list of peers: {error}", time.monotonic())
            else:
                node.learn(_converted(answer), time.monotonic(), int(time.time() * 1000))
            await asyncio.sleep(max(0.0, next_at - clock()))


def _converted(answer: PeersAnswer) -> CantalAnswer:
    """What of the answer matters for membership."""
    return CantalAnswer(
        peers=tuple(
            CantalPeer(
                id=peer.id,
                hostname=peer.hostname or "",
                name=peer.name or "",
                primary_addr=peer.primary_addr,
                addresses=peer.addresses,
                known_since=peer.known_since,
                last_report_direct=peer.last_report_direct,
                state=peer.state,
                available=peer.available,
            )
            for peer in answer.peers
        ),
        requested=answer.requested or None,
    )
