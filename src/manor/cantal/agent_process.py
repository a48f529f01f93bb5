"""The running agent: what it is made of, in which order the parts start and stop, and what ends it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

from manor import VERSION
from manor.cantal import addresses, agent_config, http_api, peers_file
from manor.cantal.agent_options import AgentOptions
from manor.cantal.collector import Collector, OwnNumbers
from manor.cantal.gossip.codec import Codec
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.members import Directory, Members
from manor.cantal.gossip.messages import Record
from manor.cantal.gossip.shell import GossipShell, open_socket
from manor.cantal.machine_id import read_machine_id
from manor.cantal.options import CollectorOptions
from manor.cantal.remote.mesh import Mesh
from manor.cantal.safe_write import write_durably
from manor.cantal.service_manager import ServiceManager
from manor.config.errors import ManorError
from manor.http.errors import HttpProblem
from manor.http.manners import FORGIVING
from manor.http.service import Running, Service, start
from manor.trust.keys import ClusterKeys
from manor.trust.tokens import Tokens

log = logging.getLogger(__name__)

BIND_WITHIN_S: Final = 5.0  # an address that does not exist yet may come
BIND_AGAIN_S: Final = 0.2
ADDRESSES_EVERY_S: Final = 60.0
PEERS_SAVE_EVERY_S: Final = 10.0  # kill -9 may cost a minute of knowledge at most
JOIN_TRIES: Final = 10
JOIN_AGAIN_S: Final = 3.0
STOP_WITHIN_S: Final = 5.0
WATCH_EVERY_S: Final = 1.0

EXIT_USAGE: Final = 2
EXIT_NETWORK: Final = 83


class CannotStart(ManorError):
    """cannot bind 0.0.0.0:22682: address in use"""

    exit_status = EXIT_USAGE


class AgentProcess:
    """One agent. `run` starts everything and returns the exit status."""

    def __init__(self, options: AgentOptions, *, host_name: str, manager: ServiceManager) -> None:
        """Raises ManorError: the storage directory or a key file cannot be used."""
        self.options = options
        self.host_name = host_name
        self.node_name = options.node_name or host_name
        self.pid = os.getpid()
        self._manager = manager
        directory = agent_config.read_directory(options.config_dir)
        self.config = directory.agent
        self.config_problems = directory.problems
        for problem in directory.problems:
            log.warning("config.problem %s", problem)
        self._keys = ClusterKeys.read(options.key_file) if options.key_file is not None else None
        self.collector = Collector(
            CollectorOptions(
                interval_ms=options.interval_ms,
                keep_history_ms=options.keep_history_ms,
                proc_root=options.proc_root,
                sys_root=options.sys_root,
                storage_dir=options.storage_dir,
                hide_cmdline=options.hide_cmdline or self.config.hide_cmdline,
                scan=self.config.scan_options(),
            )
        )
        self.machine_id = options.machine_id or read_machine_id(options.storage_dir)
        self.service = Service(
            name="cantal",
            version=VERSION,
            tokens=Tokens.read(options.token_file) if options.token_file is not None else None,
            allowed_hosts=(self.node_name, host_name, *self.config.http.allowed_hosts),
            max_body=self.config.http.max_body,
            open_to_loopback=True,
            manners=FORGIVING,
        )
        self.gossip: GossipShell | None = None
        self.mesh = Mesh(self)
        http_api.mount(self.service, self)
        self._running: list[Running] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._end: asyncio.Future[int]

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until a signal or the death of a part.

        Raises:
            CannotStart: an address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        self._warn_if_open()
        try:
            await self._bind()
            self.collector.on_death(self._died_elsewhere)
            self.collector.publish(self._own_numbers)
            self.collector.start()
            self._start_gossip()
            self.mesh.start()
            self._spawn(self._watch())
            for number, action in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop)):
                loop.add_signal_handler(number, action)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
            loop.add_signal_handler(signal.SIGUSR1, self._log_summary)
            log.info("agent.started id=%s host=%s port=%d", self.machine_id.hex(), self.options.host, self.options.port)
            return await self._end
        finally:
            await self._close()

    async def _close(self) -> None:
        self._manager.stopping()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.mesh.close()
        if self.gossip is not None:
            self._save_peers(self._peers_snapshot())
            self.gossip.close()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await asyncio.gather(
                    asyncio.to_thread(self.collector.stop), *(running.close() for running in self._running)
                )
        except TimeoutError:
            log.warning("agent.stopped_late after=%g", STOP_WITHIN_S)

    def _stop(self) -> None:
        if not self._end.done():
            self._end.set_result(0)

    def _died(self, status: int, error: BaseException) -> None:
        log.critical("agent.part_died status=%d", status, exc_info=error)
        if not self._end.done():
            self._end.set_result(status)

    def _died_elsewhere(self, status: int, error: BaseException) -> None:
        asyncio.run_coroutine_threadsafe(self._die(status, error), self._end.get_loop())

    async def _die(self, status: int, error: BaseException) -> None:
        self._died(status, error)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._died(EXIT_NETWORK, error)

    def _warn_if_open(self) -> None:
        if not self.options.host.is_loopback and self.options.token_file is None and self._keys is None:
            log.warning("agent.open host=%s: everybody who reaches it may ask and change", self.options.host)

    # --- sockets --------------------------------------------------------------------------------------------------

    async def _bind(self) -> None:
        """HTTP and, with a cluster name, gossip; an address that does not exist yet is waited for."""
        options = self.options
        hosts = [options.host]
        if options.bind_localhost:
            hosts += [host for host in map(addresses.ip, ("127.0.0.1", "::1")) if not _covers(options.host, host)]
        until = time.monotonic() + BIND_WITHIN_S
        for host in hosts:
            main = host is options.host
            while True:
                try:
                    await self._bind_one(host, gossip=main and options.cluster_name is not None)
                    break
                except OSError as error:
                    await self._failed_to_bind(host, error, optional=not main, until=until)
                    if not main:
                        break

    async def _bind_one(self, host: addresses.IpAddress, *, gossip: bool) -> None:
        sock = open_socket(host, self.options.port) if gossip else None
        try:
            self._running.append(await start(self.service, str(host), self.options.port))
        except OSError:
            if sock is not None:
                sock.close()
            raise
        if sock is not None:
            self.gossip = self._make_gossip(sock)

    async def _failed_to_bind(self, host: addresses.IpAddress, error: OSError, *, optional: bool, until: float) -> None:
        where = addresses.join(str(host), self.options.port)
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "address in use"
        if optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            log.info("agent.not_bound address=%s reason=%s", where, reason)
            return
        if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > until:
            raise CannotStart(f"cannot bind {where}: {reason}") from error
        await asyncio.sleep(BIND_AGAIN_S)

    # --- gossip ---------------------------------------------------------------------------------------------------

    def _make_gossip(self, sock: socket.socket) -> GossipShell:
        options = self.options
        assert options.cluster_name is not None
        stored = peers_file.read(self._peers_path) if self._peers_path is not None else peers_file.StoredPeers()
        now, wall_ms = asyncio.get_running_loop().time(), int(time.time() * 1000)
        earlier = stored.own.incarnation if stored.own and stored.own.id == self.machine_id.hex() else 0
        record = Record(
            id=self.machine_id,
            incarnation=max(earlier + 1, wall_ms),
            addresses=self._own_addresses(),
            host_name=self.host_name,
            node_name=self.node_name,
            port=options.port,
            version=VERSION,
        )
        core = Gossip(
            record,
            options.cluster_name,
            now=now,
            wall_ms=wall_ms,
            rng=random.Random(),
            numbers=self.config.gossip,
            members=Members(Directory()),
        )
        core.restore(peers_file.records_of(stored), peers_file.addresses_of(stored), now)
        return GossipShell(core, Codec(self._gossip_keys()), sock, on_failure=lambda e: self._died(EXIT_NETWORK, e))

    def _start_gossip(self) -> None:
        if self.gossip is None:
            if self.options.join:
                log.warning("gossip.off: `--join` does nothing without `--cluster-name`")
            return
        self.gossip.start(before_tick=self._tell_condition)
        self._spawn(self._follow_addresses())
        if self._peers_path is not None:
            self._spawn(self._keep_peers())
        for target in self.options.join:
            self._spawn(self._join(target))

    def require_gossip(self) -> GossipShell:
        """Raises HttpProblem 409: this agent is alone by its own wish."""
        if self.gossip is None:
            raise HttpProblem(409, "this agent runs without a cluster name; start it with `--cluster-name NAME`")
        return self.gossip

    def gossip_numbers(self) -> dict[str, int]:
        """What gossip counted, for the status and as the agent's own series."""
        shell = self.gossip
        if shell is None:
            return {}
        core = shell.core.counts
        return {
            "bad_packet": shell.counts.bad_packet,
            "bad_seal": shell.counts.bad_seal,
            "foreign_cluster": core.foreign_cluster,
            "duplicate_id": core.duplicate_id,
            "repeated": core.repeated,
            "refused": core.refused,
            "unsent": shell.counts.unsent,
            "suspicions_raised": core.suspicions_raised,
            "deaths_declared": core.deaths_declared,
            "accused": core.accused,
        }

    def _own_numbers(self) -> OwnNumbers:
        """The agent's own series; called in the scan thread, which only reads."""
        counters = {f"gossip.{name}": number for name, number in self.gossip_numbers().items()}
        levels: dict[str, int | float] = {}
        if self.gossip is not None:
            levels = {
                "gossip.num_peers": len(self.gossip.core.members),
                "gossip.available": self.gossip.core.members.available,
            }
        return OwnNumbers(counters, levels | self.mesh.numbers())

    def _gossip_keys(self) -> Any:
        return self._keys.purpose("gossip") if self._keys is not None else None

    def peer_keys(self) -> Any:
        """The keys of the mesh, None without a cluster key."""
        return self._keys.purpose("peer") if self._keys is not None else None

    def _tell_condition(self) -> None:
        assert self.gossip is not None
        self.gossip.core.set_condition(has_remote=self.mesh.active, scan_age_ms=self.collector.scan_age_ms())

    def _own_addresses(self) -> tuple[str, ...]:
        options = self.options
        if options.advertise:
            return tuple(addresses.join(str(ip), options.port) for ip in options.advertise)
        try:
            interfaces = addresses.of_interfaces()
        except OSError as error:
            log.warning("gossip.no_interfaces reason=%s", error.strerror)
            interfaces = []
        return addresses.announced(options.host, options.port, interfaces)

    async def _follow_addresses(self) -> None:
        assert self.gossip is not None
        while True:
            await asyncio.sleep(ADDRESSES_EVERY_S)
            now = asyncio.get_running_loop().time()
            self.gossip.perform(self.gossip.core.set_addresses(self._own_addresses(), now))

    async def _join(self, target: str) -> None:
        """As `add_host`, patient with names that cannot be resolved yet."""
        shell = self.require_gossip()
        for _ in range(JOIN_TRIES):
            try:
                await shell.add_hosts(await http_api.GossipApi(self).resolve(target), 0)
                return
            except HttpProblem as problem:
                log.warning("gossip.cannot_join target=%s reason=%s", target, problem.text)
            await asyncio.sleep(JOIN_AGAIN_S)

    @property
    def _peers_path(self) -> Path | None:
        return self.options.storage_dir / "peers.json" if self.options.storage_dir is not None else None

    def _peers_snapshot(self) -> bytes:
        assert self.gossip is not None
        return peers_file.snapshot(self.gossip.core)

    async def _keep_peers(self) -> None:
        saved = b""
        while True:
            await asyncio.sleep(PEERS_SAVE_EVERY_S)
            content = self._peers_snapshot()
            if content != saved and await asyncio.to_thread(self._save_peers, content):
                saved = content

    def _save_peers(self, content: bytes) -> bool:
        if self._peers_path is None:
            return False
        try:
            write_durably(self._peers_path, content)
        except OSError as error:
            log.warning("peers.not_saved file=%s reason=%s", self._peers_path, error.strerror)
            return False
        return True

    # --- the service manager, signals -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ready after the first tick; the watchdog is fed only while ticks complete."""
        ready, last_number = False, 0
        while True:
            tick = self.collector.last_tick()
            if tick is not None and tick.number != last_number:
                last_number = tick.number
                if not ready:
                    self._manager.ready()
                    ready = True
                self._manager.alive()
            await asyncio.sleep(WATCH_EVERY_S if ready else 0.1)

    def _reload(self) -> None:
        """A bad file keeps the old setting. What only a start can change stays as it is."""
        directory = agent_config.read_directory(self.options.config_dir, self.config)
        self.config, self.config_problems = directory.agent, directory.problems
        for problem in directory.problems:
            log.warning("config.problem %s", problem)
        self.service.allowed_hosts = frozenset(
            name.lower() for name in (self.node_name, self.host_name, *self.config.http.allowed_hosts)
        )
        try:
            if self.options.key_file is not None:
                self._keys = ClusterKeys.read(self.options.key_file)
                if self.gossip is not None:
                    self.gossip.codec = Codec(self._gossip_keys())
            if self.options.token_file is not None:
                self.service.tokens = Tokens.read(self.options.token_file)
        except ManorError as error:
            log.error("agent.reload_refused %s", error)
        log.info("agent.reloaded")

    def _log_summary(self) -> None:
        members = self.gossip.core.members if self.gossip is not None else None
        available = members.available if members is not None else 0
        tick = self.collector.last_tick()
        log.warning(
            "agent.summary peers=%d available=%d ticks=%d remote=%s",
            len(members) if members is not None else 0,
            available,
            tick.number if tick is not None else 0,
            self.mesh.active,
        )


def _covers(bound: addresses.IpAddress, other: addresses.IpAddress) -> bool:
    return bound == other or (bound.is_unspecified and bound.version == other.version)
