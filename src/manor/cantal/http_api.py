"""The agent's HTTP resources: `mount` lists them all; here are the handlers that need gossip.

What only the collector knows is answered in `local_api.py`, questions about the whole cluster in `remote/`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from manor.cantal import local_api, peers
from manor.cantal.addresses import BadAddress, join, parse_target
from manor.cantal.gossip.messages import STATE_MASK, State
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.http.access import is_loopback
from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.message import Request, Response
from manor.http.routes import Route
from manor.http.service import Service

if TYPE_CHECKING:
    from manor.cantal.agent_process import AgentProcess

PEERS_KEPT_S: Final = 0.5  # readers who ask every second cost nothing twice
WAIT_MS_MAX: Final = 30_000
RESOLVE_WITHIN_S: Final = 5.0

NOT_YET: Final = (
    ("GET", "/metrics"),
    ("GET", "/all_sockets"),
    ("GET", "/cgroups"),
    ("GET", "/users"),
    ("GET", "/values_errors"),
    ("GET", "/remote/mem_info"),
    ("POST", "/graphql"),
)


def mount(service: Service, agent: AgentProcess) -> None:
    """Register every resource."""
    gossip = GossipApi(agent)
    service.get("/status", gossip.status)
    service.get("/healthz", gossip.healthz)
    service.get("/all_peers", gossip.all_peers)
    service.get("/peers_with_remote", gossip.peers_with_remote)
    service.get("/gossip_links", gossip.links)
    service.post("/add_host", gossip.add_host, access="o")
    service.post("/remove_host", gossip.remove_host, access="o")
    service.post("/leave", gossip.leave, access="o")
    for local in local_api.ROUTES:
        handler = _local(agent, local)
        service.add(Route(local.method, local.path, handler, blocking=local.blocking, changes=False))
    agent.mesh.mount(service)
    there = {(route.method, route.path) for route in local_api.ROUTES}
    for method, path in NOT_YET:
        if (method, path) not in there:
            service.add(Route(method, path, _not_yet(path), changes=False))


def _local(agent: AgentProcess, local: local_api.Route) -> Callable[[Request], Any]:
    """A handler of the collector's, with its errors in HTTP's words."""

    def handle(request: Request) -> Any:
        body = request.json() if request.method == "POST" else None
        try:
            if request.format is Format.CBOR and local.legacy_cbor is not None:
                made = local.legacy_cbor(agent.collector, body)
                return Response(body=made, content_type=Format.CBOR.content_type)
            return local.answer(agent.collector, body)
        except QueryTooBig as error:
            raise HttpProblem(422, str(error)) from error
        except BadQuery as error:
            raise HttpProblem(400, str(error)) from error

    return handle


def _not_yet(path: str) -> Callable[[Request], Any]:
    def handle(_: Request) -> Any:
        raise HttpProblem(501, f"`{path}` is not supported yet")

    return handle


class GossipApi:
    """The handlers that show or change the member table."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self._kept: tuple[float, bytes] | None = None

    def status(self, _: Request) -> dict[str, Any]:
        agent = self._agent
        shell = agent.gossip
        document: dict[str, Any] = {
            **agent.collector.summary(),
            "num_peers": 0,
            "num_stale": 0,
            "id": agent.machine_id.hex(),
            "name": agent.node_name,
            "hostname": agent.host_name,
            "cluster_name": agent.options.cluster_name,
            "gossip": None,
            "remote": agent.mesh.summary(),
            "exports": [],
            "config_errors": list(agent.config_problems),
            "duplicate_machine_id": None,
        }
        if shell is not None:
            core = shell.core
            counts = core.members.counts
            document |= {
                "num_peers": len(core.members) - counts[State.REMOVED],
                "num_stale": core.stale(asyncio.get_running_loop().time()),
                "duplicate_machine_id": core.duplicate_address,
                "gossip": {
                    "alive": counts[State.ALIVE],
                    "suspect": counts[State.SUSPECT],
                    "dead": counts[State.DEAD],
                    "left": counts[State.LEFT],
                    "incarnation": core.record.incarnation,
                    "health": core.health,
                    "sealed": shell.codec.keys is not None,
                    "addresses": list(core.record.addresses),
                    **agent.gossip_numbers(),
                },
            }
        return document

    def healthz(self, _: Request) -> Response | dict[str, Any]:
        age_ms, interval_ms = self._agent.collector.scan_age_ms(), self._agent.options.interval_ms
        if age_ms > 3 * interval_ms + 5_000:
            text = f"the last scan ended {age_ms / 1000:.0f} s ago; one every {interval_ms / 1000:g} s would be right"
            raise HttpProblem(503, text)
        return {"ok": True}

    def all_peers(self, request: Request) -> Response | dict[str, Any]:
        now = time.monotonic()
        if request.format is not Format.JSON:
            return self._document()
        if self._kept is None or now - self._kept[0] > PEERS_KEPT_S:
            self._kept = now, msgspec.json.encode(self._document())
        return Response(body=self._kept[1], content_type=Format.JSON.content_type)

    def peers_with_remote(self, _: Request) -> dict[str, Any]:
        document = self._document()
        return document | {"peers": [peer for peer in document["peers"] if peer["has_remote"]]}

    def links(self, _: Request) -> dict[str, Any]:
        shell = self._agent.gossip
        if shell is None:
            return {"links": []}
        found = peers.named_links(shell.core, asyncio.get_running_loop().time())
        return {"links": peers.link_documents(found, shell.wall_ms)}

    async def add_host(self, request: Request) -> dict[str, Any]:
        shell = self._agent.require_gossip()
        body = _mapping(request.json())
        wait_ms = body.get("wait", 0)
        if not isinstance(body.get("addr"), str):
            raise HttpProblem(400, 'the body has no `addr`; `{"addr": "IP:PORT"}` would be right')
        if not isinstance(wait_ms, int) or isinstance(wait_ms, bool) or not 0 <= wait_ms <= WAIT_MS_MAX:
            raise HttpProblem(400, f"`wait` is no possible time; milliseconds from 0 to {WAIT_MS_MAX} would be right")
        targets = await self.resolve(body["addr"])
        found = await shell.add_hosts(targets, wait_ms / 1000)
        if not wait_ms:
            return {"ok": True}
        state = "alive" if found is not None else "unanswered"
        return {"ok": True, "state": state, "id": found.hex() if found is not None else None}

    async def resolve(self, text: str) -> list[str]:
        """All addresses a text means that our socket can reach.

        Raises:
            HttpProblem: 400, no address or no such name.
        """
        try:
            host, port = parse_target(text, self._agent.options.port)
        except BadAddress as error:
            raise HttpProblem(400, str(error)) from error
        try:
            async with asyncio.timeout(RESOLVE_WITHIN_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise HttpProblem(
                400, f"`{host}` cannot be resolved; an IP address or a known name would be right"
            ) from error
        usable = [join(str(address[0]), port) for _, _, _, _, address in found]
        if self._agent.options.host.version == 4:
            usable = [address for address in usable if not address.startswith("[")]
        if not usable:
            raise HttpProblem(400, f"`{host}` has only IPv6 addresses; this agent is bound to IPv4")
        return list(dict.fromkeys(usable))

    def remove_host(self, request: Request) -> dict[str, Any]:
        shell = self._agent.require_gossip()
        text = _mapping(request.json()).get("id")
        member = _hex_id(text) if isinstance(text, str) else None
        if member is None:
            raise HttpProblem(400, 'the body has no usable `id`; `{"id": HEX}` with 32 hex digits would be right')
        slot = shell.core.members.slot(member)
        state = State(shell.core.members.ranks[slot] & STATE_MASK) if slot is not None else State.REMOVED
        if state is State.REMOVED:
            raise HttpProblem(404, f"no member has the id {text}")
        if state in (State.ALIVE, State.SUSPECT):
            raise HttpProblem(409, f"this member is {state.name.lower()}; only a dead or left one can be removed")
        shell.perform(shell.core.remove(member, asyncio.get_running_loop().time()))
        self._kept = None
        return {"ok": True}

    def leave(self, request: Request) -> dict[str, Any]:
        shell = self._agent.require_gossip()
        if self._agent.service.tokens is None and not is_loopback(request.remote):
            raise HttpProblem(403, "without a token file only this machine itself may tell the agent to leave")
        shell.perform(shell.core.leave(asyncio.get_running_loop().time()))
        return {"ok": True}

    def _document(self) -> dict[str, Any]:
        shell = self._agent.gossip
        found = []
        if shell is not None:
            found = peers.all_peers(shell.core, asyncio.get_running_loop().time(), shell.wall_ms)
            self._agent.mesh.add_clock_skew(found)
        return {"peers": found, "requested": int(time.time() * 1000)}


def _mapping(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise HttpProblem(400, "the body is no JSON object")
    return body


def _hex_id(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == 16 else None
