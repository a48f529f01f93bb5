"""The asker's side of the mesh: nothing is connected until somebody asks, and nothing stays when nobody asks any more.

Theory of operation. A question becomes wishes (`wanted.py`). As long as there are wishes, and a little longer, there is
one link to every available member (`link.py`), and each keeps the newest ticks of what is wanted. Answers are made from
what the links hold at that moment (`answers.py`); `?wait` only delays that moment until all have delivered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from manor import VERSION
from manor.cantal.gossip.messages import AVAILABLE, STATE_MASK, MemberChanged
from manor.cantal.query.document import Document, parse_document
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.cantal.remote import answers, limits
from manor.cantal.remote.answers import Host, Missing, Question
from manor.cantal.remote.link import Link
from manor.cantal.remote.serving import PeerServer
from manor.cantal.remote.wanted import Wish, Wishes
from manor.cantal.store.view import FrameView
from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.message import Request, Response
from manor.http.service import Service

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from manor.cantal.agent_process import AgentProcess

log = logging.getLogger(__name__)

UPKEEP_EVERY_S: Final = 0.25
STALE_TICKS: Final = 5  # a member whose newest tick is so many intervals old is named as missing, too


class Mesh:
    """All links of this agent, and the server for those of others."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self.active = False
        options, remote = agent.options, agent.config.remote
        ticks_max = options.keep_history_ms // options.interval_ms + 1
        self._wishes = Wishes(remote.subscription_lifetime, interval_ms=options.interval_ms, ticks_max=ticks_max)
        self._links: dict[bytes, Link] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._upkeep: asyncio.Task[None] | None = None
        self._idle_since = 0.0
        self._session: ClientSession | None = None
        self._handshakes = asyncio.Semaphore(limits.HANDSHAKES_MAX)
        self._changed = asyncio.Event()
        self._unwatch: Any = None
        self.server = PeerServer(
            agent.collector,
            own_id=agent.machine_id,
            name=agent.node_name,
            keys=agent.peer_keys,
            facts=self._facts,
        )

    def mount(self, service: Service) -> None:
        """The resources of the cluster's data."""
        access = "-" if self._agent.peer_keys() is not None else "v"
        service.websocket(
            limits.PATH,
            self.server.serve,
            access=access,
            subprotocols=(limits.SUBPROTOCOL,),
            message_bytes_max=limits.MESSAGE_BYTES_MAX,
        )
        service.post("/remote/query_by_host", self._query_by_host, changes=False)
        service.post("/remote/query", self._query, changes=False)
        service.post("/start_remote", self._start_remote, access="o")
        service.get("/remote_stats", self._stats)

    def start(self) -> None:
        """Begin to serve others. Call it in the event loop."""
        self._unwatch = self.server.watch()
        if self._agent.gossip is not None:
            self._agent.gossip.listen(self._member_changed)

    async def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        await self._disconnect_all()

    # --- for others in the agent ----------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        return {
            "active": self.active,
            "connected": self._connected(),
            "total": len(self._links),
            "subscriptions": len(self._wishes),
            "served": self.server.sessions,
        }

    def numbers(self) -> dict[str, int | float]:
        """The agent's own series; called in the scan thread."""
        return {"remote.connected": self._connected(), "remote.served": self.server.sessions}

    def add_clock_skew(self, peers: list[dict[str, Any]]) -> None:
        """What the links found out, into the list of members."""
        for peer in peers:
            link = self._links.get(bytes.fromhex(peer["id"]))
            if link is not None and link.hello is not None:
                peer["clock_skew"] = link.skew_ms

    def _connected(self) -> int:
        return sum(link.connected for link in list(self._links.values()))

    # --- links ----------------------------------------------------------------------------------------------------

    def _activate(self) -> None:
        self._idle_since = time.monotonic()
        if not self.active:
            log.info("remote.active")
            self.active = True
        if self._upkeep is None or self._upkeep.done():
            self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())
        self._connect_new()

    async def _keep_up(self) -> None:
        """Until nothing is wanted any more for `idle-close`."""
        while True:
            await asyncio.sleep(UPKEEP_EVERY_S)
            now = time.monotonic()
            before = len(self._wishes)
            self._wishes.expire(now)
            if len(self._wishes) != before:
                await self._tell_links()
            if len(self._wishes):
                self._idle_since = now
            elif now - self._idle_since > self._agent.config.remote.idle_close:
                break
            self._connect_new()
        self.active = False
        log.info("remote.idle: all connections are closed")
        await self._disconnect_all()

    def _members(self) -> dict[bytes, str]:
        """Where every available member is to be reached."""
        if self._agent.gossip is None:
            return {}
        core = self._agent.gossip.core
        found = {}
        for slot in core.members:
            if core.members.ranks[slot] & STATE_MASK in AVAILABLE:
                member = core.members.directory.ids[slot]
                seen = core.observations.get(member)
                addresses = core.members.records[slot].addresses
                address = (seen.primary if seen is not None else None) or (addresses[0] if addresses else None)
                if address is not None:
                    found[member] = address
        return found

    def _connect_new(self) -> None:
        """Links to members that have none; to those that have moved, new ones at once."""
        members = self._members()
        for member in [member for member in self._links if member not in members]:
            self._drop(member)
        for member, address in members.items():
            link = self._links.get(member)
            if link is not None and link.address != address and not link.connected:
                kept = link
                self._drop(member)
                self._make_link(member, address, kept)
            elif link is None and len(self._links) < self._agent.config.remote.max_connections:
                self._make_link(member, address, None)

    def _make_link(self, member: bytes, address: str, before: Link | None) -> None:
        link = Link(
            member,
            address,
            own_id=self._agent.machine_id,
            keys=self._agent.peer_keys(),
            wishes=lambda: self._wishes,
            changed=self._changed.set,
            wrong_id=self._wrong_id,
        )
        if before is not None:
            link.ticks = before.ticks
        self._links[member] = link
        task = asyncio.get_running_loop().create_task(link.run(self._client(), self._handshakes))
        self._tasks[member] = task

    def _client(self) -> ClientSession:
        if self._session is None:
            import aiohttp  # here only: most agents never ask

            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": f"cantal/{VERSION}"})
        return self._session

    def _drop(self, member: bytes) -> None:
        self._links.pop(member, None)
        task = self._tasks.pop(member, None)
        if task is not None:
            task.cancel()

    async def _disconnect_all(self) -> None:
        tasks = list(self._tasks.values())
        self._links.clear()
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _tell_links(self) -> None:
        for link in list(self._links.values()):
            try:
                await link.update()
            except ConnectionError as error:  # it notices itself and connects again
                log.debug("peer.lost id=%s reason=%s", link.member.hex(), error)

    def _wrong_id(self, member: bytes, address: str) -> None:
        if self._agent.gossip is not None:
            self._agent.gossip.core.forget_contact(member, address)

    def _member_changed(self, change: MemberChanged) -> None:
        if self.active and change.after in AVAILABLE and change.before not in AVAILABLE:
            self._drop(change.member)  # it comes back as a new process: do not sit out the pause
            self._connect_new()

    # --- questions ------------------------------------------------------------------------------------------------

    async def _query_by_host(self, request: Request) -> Any:
        question, hosts = await self._ask(request)
        if request.format is Format.CBOR:
            body = await asyncio.to_thread(answers.by_host_cbor, question, hosts)
            return Response(body=body, content_type=Format.CBOR.content_type)
        missing, unavailable = self._missing(question.wishes), self._unavailable()
        return await self._evaluate(answers.by_host, question, hosts, missing, unavailable)

    async def _query(self, request: Request) -> Any:
        question, hosts = await self._ask(request)
        missing, unavailable = self._missing(question.wishes), self._unavailable()
        return await self._evaluate(answers.merged, question, hosts, missing, unavailable)

    async def _evaluate(self, answer: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(answer, *arguments)
        except QueryTooBig as error:
            raise HttpProblem(422, str(error)) from error

    async def _ask(self, request: Request) -> tuple[Question, list[Host]]:
        plain = request.json()
        wait_ms = _wait(request.query.get("wait", "0"))
        try:
            document = parse_document(plain)
        except QueryTooBig as error:
            raise HttpProblem(422, str(error)) from error
        except BadQuery as error:
            raise HttpProblem(400, str(error)) from error
        question = await self._want(plain, document)
        await self._wait_for(question.wishes, wait_ms / 1000)
        return question, self._hosts(question.wishes)

    async def _want(self, plain: Mapping[str, Any], document: Document) -> Question:
        before = {wish.number for wish in self._wishes}
        wishes = self._wishes.ask(plain, document, now=time.monotonic(), wall_ms=int(time.time() * 1000))
        self._activate()
        if {wish.number for wish in self._wishes} != before:
            await self._tell_links()
        return Question(document, wishes)

    async def _wait_for(self, wishes: Mapping[str, Wish], seconds: float) -> None:
        """Until every available member has delivered, or time is up."""
        try:
            async with asyncio.timeout(seconds):
                while not all(link.has(wish) for link in self._links.values() for wish in wishes.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _hosts(self, wishes: Mapping[str, Wish]) -> list[Host]:
        """Who has something to say, ourselves first."""
        agent = self._agent
        own_view = agent.collector.store.view()
        newest = int(own_view.times[-1]) if len(own_view.times) else 0
        hosts = [
            Host(
                id=agent.machine_id.hex(),
                name=agent.node_name,
                newest_tick=newest,
                interval_ms=agent.options.interval_ms,
                skew_ms=0,
                views=dict.fromkeys(wishes, own_view),
                own=True,
            )
        ]
        for link in self._links.values():
            if link.hello is not None and all(link.has(wish) or wish.number in link.ticks for wish in wishes.values()):
                host = _host(link, wishes)
                if host is not None:
                    hosts.append(host)
        return hosts

    def _missing(self, wishes: Mapping[str, Wish]) -> list[Missing]:
        core = self._agent.gossip.core if self._agent.gossip is not None else None
        found = []
        for member, link in self._links.items():
            slot = core.members.slot(member) if core is not None else None
            name = core.members.records[slot].node_name if core is not None and slot is not None else member.hex()
            reason = _reason_missing(link, wishes)
            if reason is not None:
                found.append(Missing(member.hex(), name, reason))
        return found

    def _unavailable(self) -> list[str]:
        if self._agent.gossip is None:
            return []
        members = self._agent.gossip.core.members
        return [
            members.directory.ids[slot].hex() for slot in members if members.ranks[slot] & STATE_MASK not in AVAILABLE
        ]

    def _start_remote(self, _: Request) -> dict[str, Any]:
        self._activate()
        return {"ok": True}

    # --- what is told of it ---------------------------------------------------------------------------------------

    def _stats(self, _: Request) -> dict[str, Any]:
        return {
            "enabled": self.active,
            "peers": [
                {
                    "id": link.member.hex(),
                    "current_addr": link.address,
                    "connected": link.connected,
                    "last_beacon_time": link.beacon_at_ms,
                    "last_beacon": link.last_beacon.facts if link.last_beacon is not None else None,
                    "last_attempt": list(link.last_attempt) if link.last_attempt is not None else None,
                }
                for link in self._links.values()
            ],
        }

    def _facts(self) -> dict[str, Any]:
        """This agent, as its beacons describe it."""
        agent = self._agent
        status = agent.collector.summary()
        shell = agent.gossip
        reports = [heard.report for heard in shell.core.hearsay.values()] if shell is not None else []
        view_times = agent.collector.store.view().times
        age_ms = int(view_times[-1] - view_times[0]) if len(view_times) else 0
        return {
            "version": VERSION,
            "id": agent.machine_id.hex(),
            "addresses": list(shell.core.record.addresses) if shell is not None else [],
            "name": agent.node_name,
            "hostname": agent.host_name,
            "cluster_name": agent.options.cluster_name,
            "pid": agent.pid,
            "current_time": status["current_time"],
            "startup_time": status["startup_time"],
            "boot_time": (status["boot_time"] or 0) * 1000,
            "scan_time": status["last_scan"],
            "scan_duration": status["scan_duration"],
            "processes": status["processes"],
            "tip_values": status["series"]["tip"],
            "fine_values": status["series"]["fine"],
            "fine_history_length": status["ticks"],
            "history_age": age_ms,
            "peers": len(shell.core.members) if shell is not None else 0,
            "peers_with_remote": sum(report.has_remote for report in reports),
            "remote_total": len(self._links),
            "remote_connected": self._connected(),
        }


def _host(link: Link, wishes: Mapping[str, Wish]) -> Host | None:
    """What one link holds; None if that is nothing yet."""
    assert link.hello is not None
    views: dict[str, Any] = {}
    newest = link.last_beacon.newest_tick if link.last_beacon is not None else link.hello.newest_tick
    frames: dict[int, FrameView] = {}
    for name, wish in wishes.items():
        if wish.number not in frames:
            received = link.ticks.get(wish.number)
            states = tuple(link.states.get(wish.number, {}).values())
            if received is None and wish.source != "Tip":
                return None
            if received is not None and not received.newest_tick and not received.complete:
                return None
            frame = received.frame() if received is not None else answers.NOTHING
            frames[wish.number] = FrameView(frame, link.hello.interval, states)
        views[name] = frames[wish.number]
    ticks = [view.times[-1] for view in frames.values() if len(view.times)]
    newest = int(max(ticks)) if ticks else newest
    return Host(link.member.hex(), link.hello.name, newest, link.hello.interval, link.skew_ms, views, own=False)


def _reason_missing(link: Link, wishes: Mapping[str, Wish]) -> str | None:
    for wish in wishes.values():
        if wish.number in link.errors:
            return link.errors[wish.number]
    if all(link.has(wish) for wish in wishes.values()):
        interval_s = link.hello.interval / 1000 if link.hello is not None else 1.0
        silent_s = link.silent_s()
        return f"silent for {silent_s:.0f} s" if silent_s > max(STALE_TICKS * interval_s, 2.0) else None
    if link.connected:
        return "connected, nothing delivered yet"
    return link.last_attempt[1] if link.last_attempt is not None else "connecting"


def _wait(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= limits.WAIT_MS_MAX):
        raise HttpProblem(400, f"`wait={text[:20]}` is no possible time; 0 to {limits.WAIT_MS_MAX} ms would be right")
    return int(text)
