"""A cantal that only answers `/all_peers.json`, from a list of names: for tests and for trying things out.

A name with `self:` is left out of the answer. FILE maps names to `alive`, `left` or a silence such as `80s` (then the
peer is not `available`); it is read at each request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manor import VERSION
from manor.config.errors import ManorError
from manor.config.loader import ConfigError, load_data
from manor.config.units import parse_duration
from manor.http.manners import FORGIVING
from manor.http.service import Running, Service, start

PORT: Final = 22682
ID_PREFIX: Final = "77985419c732412ea38b94db"
KNOWN_FOR_MS: Final = 3_600_000


class BadPeers(ManorError):
    """`be ta` is no name of a peer; NAME, NAME@IP or self:NAME would be right"""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class FakePeer:
    id: str
    name: str
    address: str
    is_self: bool


def fake_id(place: int) -> str:
    """The machine id of the n-th peer, from 1."""
    return f"{ID_PREFIX}{place:08d}"


def parse_peers(words: Sequence[str], count: int = 0) -> tuple[FakePeer, ...]:
    """`self:alpha beta gamma@10.0.0.3`, or `count` peers named n1, n2 and so on. Raises BadPeers."""
    words = words or [f"n{place}" for place in range(1, count + 1)]
    peers = []
    for place, word in enumerate(words, 1):
        name, _, address = word.removeprefix("self:").partition("@")
        if not name or not name.replace("-", "").replace(".", "").isalnum():
            raise BadPeers(f"`{word}` is no name of a peer; NAME, NAME@IP or self:NAME would be right")
        peers.append(FakePeer(fake_id(place), name, address or f"192.168.255.{place}", word.startswith("self:")))
    return tuple(peers)


def all_peers(peers: Sequence[FakePeer], states: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """The document; see the module for what `states` may say of a name."""
    return {"peers": [_peer(peer, states.get(peer.name), now_ms) for peer in peers if not peer.is_self],
            "requested": now_ms}  # fmt: skip


def _peer(peer: FakePeer, state: Any, now_ms: int) -> dict[str, Any]:
    silent_s = 0.0 if state in (None, "alive", "left") else parse_duration(str(state))
    alive = state in (None, "alive")
    return {
        "id": peer.id,
        "hostname": peer.name,
        "name": peer.name,
        "primary_addr": f"{peer.address}:{PORT}",
        "addresses": [f"{peer.address}:{PORT}"],
        "known_since": now_ms - KNOWN_FOR_MS,
        "last_report_direct": now_ms - int(silent_s * 1000),
        "state": "alive" if alive else "left" if state == "left" else "dead",
        "available": alive,
    }


def service(peers: Sequence[FakePeer], state_file: Path | None = None) -> Service:
    def answer(_request: object) -> dict[str, Any]:
        return all_peers(peers, read_states(state_file), int(time.time() * 1000))

    found = Service(name="fake-cantal", version=VERSION, manners=FORGIVING)
    found.get("/all_peers", answer)
    return found


def read_states(file: Path | None) -> dict[str, Any]:
    """Raises ConfigError for a file that is no mapping."""
    if file is None or not file.exists():
        return {}
    states = load_data(file.read_bytes(), str(file))
    if states is not None and not isinstance(states, dict):
        raise ConfigError([])
    return states or {}


async def serve(
    peers: Sequence[FakePeer], *, host: str = "127.0.0.1", port: int = PORT, state_file: Path | None = None
) -> Running:
    """Listen; close what it returns."""
    return await start(service(peers, state_file), host, port)


def run(words: Sequence[str], *, count: int = 0, port: int = PORT, state_file: Path | None = None) -> int:
    """Serve until interrupted. Raises BadPeers."""
    peers = parse_peers(words, count)

    async def forever() -> None:
        running = await serve(peers, port=port, state_file=state_file)
        try:
            await asyncio.Event().wait()
        finally:
            await running.close()

    try:
        asyncio.run(forever())
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        raise BadPeers(f"cannot listen on port {port}: {error.strerror}") from error
    return 0
