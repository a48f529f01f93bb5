"""Asking the local cantal once a second who the peers are."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp
import msgspec

from manor.verwalter.membership import CantalAnswer
from manor.verwalter.node import Node

TIMEOUT_S: Final = 1.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024

_DECODER: Final = msgspec.json.Decoder(CantalAnswer)


async def poll_peers(node: Node, session: aiohttp.ClientSession, url: str) -> None:
    """Until cancelled. A failed answer is counted, never fatal."""
    clock = asyncio.get_running_loop().time
    while True:
        next_at = clock() + node.settings.election.refresh
        try:
            answer = await _ask(session, f"{url}/all_peers.json")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            node.cantal_failed(f"{url}: {error or type(error).__name__}", time.monotonic())
        except (msgspec.DecodeError, ValueError) as error:
            node.cantal_failed(f"{url}: the answer is no list of peers: {error}", time.monotonic())
        else:
            node.learn(answer, time.monotonic(), int(time.time() * 1000))
        await asyncio.sleep(max(0.0, next_at - clock()))


async def _ask(session: aiohttp.ClientSession, url: str) -> CantalAnswer:
    async with asyncio.timeout(TIMEOUT_S), session.get(url) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        text = await response.content.read(ANSWER_BYTES_MAX + 1)
        while len(text) <= ANSWER_BYTES_MAX and (piece := await response.content.read(ANSWER_BYTES_MAX)):
            text += piece
    if len(text) > ANSWER_BYTES_MAX:
        raise ValueError(f"more than {ANSWER_BYTES_MAX} bytes")
    return _DECODER.decode(text)
