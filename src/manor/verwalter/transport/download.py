"""Fetching one schedule from another node over HTTP; the answer is verified before anybody sees it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp

from manor.config.errors import ManorError
from manor.trust.keys import PurposeKeys
from manor.trust.requests import sign
from manor.verwalter.schedule import BadSchedule, Envelope, decode

FIRST_BYTE_WITHIN_S: Final = 3.0
SECONDS_PER_MIB: Final = 1.0
MIB: Final = 1024 * 1024


class DownloadFailed(ManorError):
    """schedule 6f0c… from 10.0.0.2:8379: status 503"""

    def __init__(self, text: str, holders: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.holders = holders  # addresses of others who have it, as the asked node says


async def download(
    session: aiohttp.ClientSession,
    address: str,
    hash: str,
    *,
    own_id: str,
    keys: PurposeKeys | None,
    bytes_max: int,
) -> Envelope:
    """`GET /v1/schedule?hash=…`, three seconds plus one for each MiB. Raises DownloadFailed."""
    path = f"/v1/schedule?hash={hash}"
    headers = {"Accept": "application/json"}
    if keys is not None:
        headers["Authorization"] = sign(keys, method="GET", path=path, body=b"", node_id=own_id, now=time.time())
    what = f"schedule {hash[:8]} from {address}"
    try:
        async with asyncio.timeout(FIRST_BYTE_WITHIN_S) as limit:
            async with session.get(f"http://{address}{path}", headers=headers) as response:
                if response.status != 200:
                    holders = tuple(part.strip() for part in response.headers.get("X-Holders", "").split(",") if part)
                    raise DownloadFailed(f"{what}: status {response.status}", holders)
                announced = min(response.content_length or bytes_max, bytes_max)
                now = asyncio.get_running_loop().time()
                limit.reschedule(now + FIRST_BYTE_WITHIN_S + SECONDS_PER_MIB * announced / MIB)
                text = await _read(response, bytes_max, what)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise DownloadFailed(f"{what}: {error or type(error).__name__}") from error
    try:
        envelope = decode(text, source=address, bytes_max=bytes_max)
    except BadSchedule as error:
        raise DownloadFailed(str(error)) from error
    if envelope.hash != hash:
        raise DownloadFailed(f"{what}: it sent {envelope.hash[:8]}")
    return envelope


async def _read(response: aiohttp.ClientResponse, bytes_max: int, what: str) -> bytes:
    text = bytearray()
    async for piece in response.content.iter_any():
        text += piece
        if len(text) > bytes_max:
            raise DownloadFailed(f"{what}: more than {bytes_max // MIB} MiB")
    return bytes(text)
