"""The daemon's parts put together, started, reloaded and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Iterable
from typing import Final

import aiohttp

from manor import VERSION
from manor.config.errors import ConfigError, ManorError
from manor.delivery.routes import routes as delivery_routes
from manor.delivery.staging import Receiver
from manor.http.service import Asked, Service, start
from manor.trust.requests import RequestVerifier
from manor.verwalter import service_manager
from manor.verwalter.api.routes import Parts, routes
from manor.verwalter.daemon import Options, Secrets, UnusableStart, read_secrets
from manor.verwalter.delivered import DeliveryPlan, receiver
from manor.verwalter.deploy import Deployer, Place
from manor.verwalter.deployment_log import prune
from manor.verwalter.links.cantal import poll_peers
from manor.verwalter.links.files import watch
from manor.verwalter.links.network import Network, open_port
from manor.verwalter.links.publishing import publish
from manor.verwalter.links.reports import Reporter
from manor.verwalter.links.rounds import Rounds, active_directory
from manor.verwalter.metadata import read_tree
from manor.verwalter.node import Node
from manor.verwalter.render.limits import read_limits
from manor.verwalter.settings import read_settings
from manor.verwalter.state_files import Storage

log = logging.getLogger(__name__)

STOP_WITHIN_S: Final = 180.0  # a render in progress is waited for
CLEAN_UP_EVERY_S: Final = 86_400.0
CONNECTIONS_MAX: Final = 200  # of our own requests to other nodes

EXIT_STATUS: Final = {"http": 81, "fetcher": 82, "responder": 83, "scheduler": 92, "apply": 94}  # a task that ended


class TaskEnded(ManorError):
    """the task `apply` ended: …; this is a bug"""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(f"the task `{task}` ended: {reason}; this is a bug")
        self.exit_status = EXIT_STATUS[task]


def run(options: Options, secrets: Secrets, warning: str | None) -> int:
    """The exit status. Raises ManorError."""
    storage = Storage(options.storage_dir)
    try:
        read_limits(options.config_dir / "sandbox")  # the renderer enforces them; a bad file must be told now
        storage.prepare()
        options.log_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableStart(f"{options.log_dir}: {error.strerror}") from error
    except ManorError as error:
        raise UnusableStart(str(error).strip()) from error
    daemon = Daemon(options, secrets, storage, warning)
    try:
        asyncio.run(daemon.run())
    except BaseExceptionGroup as group:
        expected = group.subgroup(ManorError)
        if expected is None:
            raise
        raise _first(expected) from None
    return 0


class Daemon:
    """All parts of one verwalter."""

    def __init__(self, options: Options, secrets: Secrets, storage: Storage, warning: str | None) -> None:
        """`warning` is what is insecure here, and stays an error as long as the daemon runs."""
        self.options = options
        self.node = Node(options.identity, options.settings, storage, secrets.cluster_keys)
        self.node.force_leader = options.force_leader
        self._warning = warning
        self.node.set_error("config", warning)
        self._secrets = secrets
        self._storage = storage

    async def run(self) -> None:
        """Until TERM or INT. Raises UnusableStart, TaskEnded."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        limits = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
        async with aiohttp.ClientSession(connector=limits, trust_env=False) as session, asyncio.TaskGroup() as tasks:
            await self._start(session, tasks)
            try:
                await self._listen()
            except OSError as error:
                await self.rounds.close()
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise UnusableStart(f"cannot listen on {self.options.identity.address}: {reason}") from error
            running = self._start_tasks(session, tasks)
            loop.add_signal_handler(signal.SIGHUP, lambda: tasks.create_task(self.reload()))
            service_manager.notify("READY=1")
            log.info("started id=%s address=%s", self.options.identity.id, self.options.identity.address)
            await stop.wait()
            service_manager.notify("STOPPING=1")
            await self._stop(running)

    async def _start(self, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        """Everything is made, nothing runs yet."""
        node, options = self.node, self.options
        self.network = Network(node, session, tasks)
        node.outside = self.network
        place = Place(
            hostname=options.identity.hostname,
            cluster=options.identity.cluster,
            dc=options.identity.dc,
            config_dir=options.config_dir,
            log_dir=options.log_dir,
            render=options.settings.render,
            logs=options.settings.logs,
            use_sudo=options.settings.use_sudo,
            dry_run=options.dry_run,
        )
        node.deployer = Deployer(place, self._storage, lambda: node.machine, self.network.changed)
        self.rounds = Rounds(node, self.network.listen())
        self.reporter = Reporter(node, session, self.network.listen(), self._incoming)
        self.reporter.look_for_lithos()
        self.receiver: Receiver = receiver(node, self.reporter, options.config_dir)
        self.service = self._make_service()
        await self._read_runtime()
        await self._read_machine()
        await self.rounds.load(active_directory(options.config_dir, options.settings.scheduler.active))

    def _make_service(self) -> Service:
        node, identity, settings = self.node, self.options.identity, self.options.settings
        service = Service(
            name="verwalter",
            version=VERSION,
            tokens=self._secrets.tokens,
            verifier=None if node.request_keys is None else RequestVerifier(node.request_keys),
            allowed_hosts=(identity.name, identity.hostname, *settings.allowed_hosts),
            audit=self._noticed,
        )
        parts = Parts(node, self.rounds, service, self.network.listen, self.options.log_dir, settings.default_frontend)
        service.add(*routes(parts), *delivery_routes(self.receiver, DeliveryPlan(node)))
        return service

    def _incoming(self, sandbox: str) -> dict[str, float]:
        return self.receiver.incoming(sandbox)

    def _noticed(self, asked: Asked) -> None:
        """A request that changed something, or tried to."""
        level = logging.DEBUG if asked.path == "/v1/node_report" else logging.INFO
        log.log(
            level, "asked method=%s path=%s from=%s status=%s", asked.method, asked.path, asked.remote, asked.status
        )
        if asked.path.startswith("/v1/delivery/commit") and asked.status == 200:
            self.reporter.look_at_images_soon()

    async def _listen(self) -> None:
        identity = self.options.identity
        self._datagrams = await open_port(self.network, identity.host, identity.port)
        self._http = await start(self.service, identity.host, identity.port)

    def _start_tasks(self, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        config_dir = self.options.config_dir
        endless: tuple[tuple[str, Awaitable[None]], ...] = (
            ("fetcher", poll_peers(self.node, self.options.cantal_url)),
            ("fetcher", self.network.run_timers()),
            ("scheduler", self.rounds.run()),
            ("apply", self.node.deployer.run()),
            ("responder", self.reporter.run()),
            ("http", service_manager.LoopWatch().run()),
            ("responder", watch(config_dir / "runtime", self._read_runtime)),
            ("responder", watch(config_dir / "machine", self._read_machine)),
            ("responder", watch(config_dir / "templates", self._templates_changed)),
            ("scheduler", watch(config_dir / "scheduler", self._reload_scheduler)),
            ("apply", self._clean_up_daily()),
            ("http", publish(self.node)),
        )
        return [tasks.create_task(_endless(name, work)) for name, work in endless]

    async def _clean_up_daily(self) -> None:
        """Old logs, and what failed deliveries left."""
        logs = self.options.settings.logs
        while True:
            try:
                await asyncio.to_thread(
                    prune,
                    self.options.log_dir,
                    keep_segments=logs.keep_segments,
                    keep_index_days=logs.keep_index_days,
                )
                here = self.reporter.lithos
                if here is not None:
                    await asyncio.to_thread(self.receiver.sweep, sorted(here.sandboxes))
            except OSError as error:
                log.warning("clean_up.failed reason=%s", error)
            await asyncio.sleep(CLEAN_UP_EVERY_S)

    async def _stop(self, running: Iterable[asyncio.Task[None]]) -> None:
        for task in running:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await asyncio.gather(*running, return_exceptions=True)
        self._datagrams.close()
        await self._http.close()
        await self.rounds.close()
        self.node.write_election()

    # Reloading

    async def reload(self) -> None:
        """HUP: everything is read again; what is wrong leaves the old content working."""
        log.info("reload")
        await self._read_secrets()
        await self._check_settings()
        await self._read_runtime()
        await self._read_machine()
        await self._reload_scheduler()
        await self._templates_changed()
        self.reporter.look_for_lithos()

    async def _read_secrets(self) -> None:
        node = self.node
        try:
            secrets = await asyncio.to_thread(read_secrets, self.options)
        except ManorError as error:
            node.set_error("tokens", str(error).splitlines()[0])
            return
        node.set_error("tokens", None)
        node.cluster_keys = secrets.cluster_keys
        self.service.tokens = secrets.tokens
        self.service.verifier = None if node.request_keys is None else RequestVerifier(node.request_keys)

    async def _check_settings(self) -> None:
        """Settings are taken over at the next start; a bad file is said now."""
        try:
            read_settings(self.options.settings_file, must_exist=self.options.settings_must_exist)
        except ConfigError as error:
            self.node.set_error("config", str(error).splitlines()[0])
        else:
            self.node.set_error("config", self._warning)

    async def _read_runtime(self) -> None:
        node = self.node
        node.runtime = await asyncio.to_thread(read_tree, self.options.config_dir / "runtime")
        troubles = node.runtime.troubles
        text = f"{troubles[0].path}: {troubles[0].message}" if troubles else ""
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        node.set_error("runtime", f"{text}{more}" if troubles else None)
        node.wake_round(time.monotonic())

    async def _read_machine(self) -> None:
        self.node.machine = (await asyncio.to_thread(read_tree, self.options.config_dir / "machine")).values
        self.node.deployer.look_again()

    async def _reload_scheduler(self) -> None:
        active = self.options.settings.scheduler.active
        await self.rounds.load(active_directory(self.options.config_dir, active))

    async def _templates_changed(self) -> None:
        self.node.deployer.look_again()


async def _endless(name: str, work: Awaitable[None]) -> None:
    """What must not end; if it does, the daemon ends with the status of that task."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception as error:
        log.exception("task.failed task=%s", name)
        raise TaskEnded(name, f"{type(error).__name__}: {error}") from error
    raise TaskEnded(name, "it returned")


def _first(group: BaseExceptionGroup[ManorError]) -> ManorError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ManorError)
    return error


__all__ = ["Daemon", "run"]
