"""The master: the asyncio shell around `supervision.core`. It performs actions and tells what came of them.

One thread of decisions: every event goes through `_feed`, which lets the core decide, performs its actions, and arms
the timer for the core's next moment. What blocks (the runtime, removal, probes inside containers) runs in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Final

from manor.container.runtime import RuntimeFailed
from manor.kernel import pidfds, process
from manor.lithos import service_manager
from manor.lithos.containers.host import Host
from manor.lithos.containers.launch import Living, Request, launch, remove
from manor.lithos.containers.notify import NotifySockets
from manor.lithos.containers.output import write_line
from manor.lithos.containers.sockets import SharedSockets, open_listening
from manor.lithos.endings_seen import wait_status_nowait
from manor.lithos.errors import StartRefused
from manor.lithos.files.record import Record, RecordStore
from manor.lithos.logs import Logs
from manor.lithos.metrics import Metrics
from manor.lithos.probing import run_probe
from manor.lithos.rules.settle import Instance
from manor.lithos.signals import RESTART_SIGNALS, STOP_SIGNALS, block_signals, unblock_signals
from manor.lithos.status_publisher import StatusPublisher
from manor.lithos.supervision import messages as m
from manor.lithos.supervision.core import Supervisor
from manor.lithos.supervision.desired import Desired
from manor.lithos.supervision.endings import Ending
from manor.lithos.supervision.phases import Phase

STARTS_AT_ONCE_MAX: Final = 8
PROBES_AT_ONCE_MAX: Final = 4  # of those that need a thread
HOLD_WITHIN_S: Final = 10.0  # how long a restart in place waits for starts that are under way
COLLECT_WITHIN_S: Final = 5.0  # an init that has just ended may still belong to a process of the runtime
COLLECT_POLL_S: Final = 0.01
STRANGERS_EVERY_S: Final = 5.0  # how often unknown children are looked for, and how old they get


def _pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Its threads never take a signal: one that arrives while the main thread blocks it must wait, not kill."""
    return ThreadPoolExecutor(threads, name, initializer=block_signals)


class Outcome(Enum):
    """Why the master's loop has ended."""

    STOPPED = "stopped"
    RESTART = "restart"


class Master:
    """The supervision of one master config from now until it is stopped or restarted."""

    def __init__(
        self,
        host: Host,
        desired: Desired,
        logs: Logs,
        metrics: Metrics,
        sockets: SharedSockets,
        notify: NotifySockets,
        restarts: dict[str, int],
    ) -> None:
        self._host = host
        self._logs = logs
        self._metrics = metrics
        self._sockets = sockets
        self._notify = notify
        self._records = RecordStore(host.places.records)
        self._boot_id = process.boot_id()
        self._to_epoch_s = time.time() - process.boottime()
        self._core = Supervisor(
            desired,
            now=process.boottime(),
            boot_id=self._boot_id,
            starts_at_once=min(STARTS_AT_ONCE_MAX, os.cpu_count() or 1),
            restarts=restarts,
        )
        self._desired = desired
        self._status = StatusPublisher(host.places.status_file, self._boot_id, lambda text: logs.say("error", text))
        self._pidfds: dict[str, int] = {}  # of the inits, by instance name
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._restart_wanted = False
        self._holding = False
        self._starters = _pool(STARTS_AT_ONCE_MAX, "start")
        self._removers = _pool(STARTS_AT_ONCE_MAX, "remove")
        self._probers = _pool(PROBES_AT_ONCE_MAX, "probe")

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self, living: Iterable[Living], check_restart: Any) -> Outcome:
        """Adopt, supervise, and return when everything is stopped or when the process may execute itself.

        check_restart: called at a restart signal; raises ManorError when the new configuration cannot be used.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)
        for number in RESTART_SIGNALS:
            loop.add_signal_handler(number, self._want_restart, check_restart)
        unblock_signals()
        self._adopt(living)
        self._spawn(self._reap_strangers())
        if (interval_s := service_manager.watchdog_interval_s()) is not None:
            self._spawn(self._feed_watchdog(interval_s))
        service_manager.notify("READY=1")
        await self._ended.wait()
        outcome = Outcome.RESTART if self._restart_wanted else Outcome.STOPPED
        block_signals()  # the loop is about to give them back their default actions
        await self._close(outcome)
        if self._failure is not None:
            raise self._failure
        return outcome

    def _adopt(self, living: Iterable[Living]) -> None:
        now = process.boottime()
        actions: list[m.Action] = []
        for one in living:
            self._watch(one.record.name, one.pidfd)
            actions += self._core.adopt(one.record, now)
        for container_id in self._notify.find_inherited():
            self._watch_notify(container_id)
        self._perform(actions)
        self._advance()

    async def _close(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._status.flush()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._starters, self._removers, self._probers):
            pool.shutdown(wait=False, cancel_futures=True)
        if outcome is Outcome.STOPPED:
            self._status.remove()

    def _stop(self) -> None:
        if not self._restart_wanted:
            self._logs.say("warn", "Stopping all containers")
        self._restart_wanted = self._holding = False
        self._feed(m.StopAll())

    def _want_restart(self, check_restart: Any) -> None:
        if self._core.stopping or self._restart_wanted:
            return
        self._spawn(self._restart(check_restart))

    async def _restart(self, check_restart: Any) -> None:
        """Let what is under way finish, then leave the loop; containers notice nothing."""
        self._restart_wanted = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._starters, check_restart)
        except Exception as error:
            self._logs.say("error", f"Restart refused, going on as before: {error}")
            self._restart_wanted = False
            return
        if self._restart_wanted:  # no TERM came meanwhile
            self._holding = True
            asyncio.get_running_loop().call_later(HOLD_WITHIN_S, self._ended.set)
            self._feed(m.Hold())

    # --- events and actions -------------------------------------------------------------------------------------

    def _feed(self, event: m.Event) -> None:
        self._perform(self._core.receive(event, process.boottime()))
        self._advance()

    def _advance(self) -> None:
        """What is due, then everything that follows from the state: sockets, status, metrics, the next moment."""
        now = process.boottime()
        self._perform(self._core.tick(now))
        for address in self._sockets.close_unused(self._core.addresses_in_use(now)):
            self._logs.say("info", f"Closed the socket {address}")
        self._status.offer(self._core.statuses(self._to_epoch_s))
        self._metrics.set_levels(self._core.levels())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._core.finished or (self._holding and not self._core.busy):
            self._ended.set()
        elif (moment := self._core.next_tick_at()) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, moment - now), self._advance)

    def _perform(self, actions: Iterable[m.Action]) -> None:
        for action in actions:
            match action:
                case m.Launch(instance, record):
                    self._spawn(self._launch(instance, record))
                case m.WriteRecord(record):
                    self._write_record(record)
                case m.SendSignal(name, number):
                    with contextlib.suppress(ProcessLookupError, KeyError):  # it ended by itself meanwhile
                        pidfds.send_signal(self._pidfds[name], number)
                case m.Clean(record):
                    self._spawn(self._clean(record))
                case m.RunProbe():
                    self._spawn(self._probe(action))
                case m.Say(level, sandbox, text):
                    self._logs.say(level, text, sandbox)
                case m.WriteOutput(record, text):
                    self._write_output(record, text)
                case m.Count(entry, counter):
                    self._metrics.count(entry, counter)

    def _write_record(self, record: Record) -> None:
        try:
            self._records.write(record)
        except OSError as error:
            self._logs.say("error", f'Cannot write the record of "{record.name}": {error.strerror}')

    def _write_output(self, record: Record, text: str) -> None:
        if record.output is None:
            return
        try:
            write_line(record.output, text)
        except OSError as error:
            self._logs.say("error", f'Cannot write to the output of "{record.name}": {error.strerror}')

    # --- containers ---------------------------------------------------------------------------------------------

    async def _launch(self, instance: Instance, record: Record) -> None:
        loop = asyncio.get_running_loop()
        name, held_once = str(instance.name), []
        try:
            owner = (instance.identity.host_uid, instance.identity.host_gid)
            sockets: dict[int, int] = {}
            for port in instance.ports:
                if port.shared:
                    held = self._sockets.get(port, owner)
                else:
                    held = open_listening(port, owner)
                    held_once.append(held)
                sockets[port.fd] = held.fileno()
            notify_socket = self._notify.open(record.id) if instance.wants_notify_socket else None
            request = Request(
                instance=instance,
                record=record,
                sockets=sockets,
                notify_socket=notify_socket,
                term=os.environ.get("TERM") or "dumb",
            )
            started = await loop.run_in_executor(self._starters, launch, request, self._host)
            self._watch(name, started.pidfd)
            if notify_socket is not None:
                self._watch_notify(record.id)
        except (StartRefused, RuntimeFailed, OSError) as error:
            self._close_notify(record.id)
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self._feed(m.NotLaunched(name, reason, refused=not isinstance(error, RuntimeFailed)))
        else:
            self._feed(m.Launched(name, started.record))
        finally:
            for held in held_once:
                held.close()

    def _watch(self, name: str, pidfd: int) -> None:
        self._pidfds[name] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._has_ended, name, pidfd)

    def _has_ended(self, name: str, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        self._spawn(self._collect(name, pidfd))

    async def _collect(self, name: str, pidfd: int) -> None:
        """The status of an init that has ended. Just after a start it may not be our child yet: try again."""
        deadline = time.monotonic() + COLLECT_WITHIN_S
        try:
            status = wait_status_nowait(pidfd, self._core.record_of(name))
            while status is None and time.monotonic() < deadline:
                await asyncio.sleep(COLLECT_POLL_S)
                status = wait_status_nowait(pidfd, self._core.record_of(name))
        finally:
            self._pidfds.pop(name, None)
            os.close(pidfd)
        self._feed(m.Ended(name, Ending.of_init(status)))

    async def _clean(self, record: Record) -> None:
        self._close_notify(record.id)
        try:
            await asyncio.get_running_loop().run_in_executor(self._removers, remove, record, self._host)
        except (RuntimeFailed, OSError) as error:
            # The next start of this name, or of the master, tries again.
            self._logs.say("error", f'Cannot remove what is left of "{record.name}": {error}')
        self._feed(m.Cleaned(record.name))

    async def _probe(self, asked: m.RunProbe) -> None:
        instance = self._desired.instances[asked.name]
        record = self._core.record_of(asked.name)
        if record is None:
            return
        is_health = self._core.phase_of(asked.name) is Phase.READY
        failure = await run_probe(asked.probe, instance, record, self._host, self._probers, is_health=is_health)
        self._feed(m.ProbeDone(asked.name, asked.started_at, failure))

    # --- readiness that comes by itself -------------------------------------------------------------------------

    def _watch_notify(self, container_id: str) -> None:
        descriptor = self._notify.descriptor(container_id)
        if descriptor is not None:
            asyncio.get_running_loop().add_reader(descriptor, self._notified, container_id)

    def _notified(self, container_id: str) -> None:
        name = next((record.name for record in self._core.records if record.id == container_id), None)
        for notice in self._notify.receive_nowait(container_id):
            if name is not None:
                self._feed(m.Notified(name, notice))

    def _close_notify(self, container_id: str) -> None:
        descriptor = self._notify.descriptor(container_id)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
        self._notify.close(container_id)

    # --- what goes on beside ------------------------------------------------------------------------------------

    async def _reap_strangers(self) -> None:
        """Children that nobody waits for: helpers of the runtime that outlived it. Known inits are left alone."""
        earlier: set[int] = set()
        while True:
            await asyncio.sleep(STRANGERS_EVERY_S)
            known = {record.init_pid for record in self._core.records}
            zombies = {pid for pid in process.children() if pid not in known and _is_zombie(pid)}
            for pid in zombies & earlier:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            earlier = zombies

    async def _feed_watchdog(self, interval_s: float) -> None:
        while True:
            service_manager.notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A bug in one task ends the master, as any bug does: the service manager starts it again, and it adopts."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._ended.set()


def _is_zombie(pid: int) -> bool:
    try:
        return process.state(pid) == "Z"
    except ProcessLookupError:
        return False
