"""One life of the master process, between two executions: what is set up before the loop and taken down after it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from manor.config.loader import ConfigError
from manor.kernel import process
from manor.lithos import config_log, ground, service_manager
from manor.lithos.configured import Configured, desired, read_configured
from manor.lithos.containers.host import find_host, find_programs, missing_controllers, require_root
from manor.lithos.containers.notify import NotifySockets
from manor.lithos.containers.sockets import SharedSockets
from manor.lithos.errors import Fatal
from manor.lithos.files.master import MasterConfig, Places
from manor.lithos.files.record import RecordStore
from manor.lithos.files.status import read_status
from manor.lithos.living import find_living, remove_leftovers
from manor.lithos.logs import LogFile, Logs
from manor.lithos.master import Master, Outcome
from manor.lithos.master_lock import MasterLock
from manor.lithos.metrics import Metrics
from manor.lithos.process_config import read_master
from manor.lithos.supervision.desired import Desired

PROCESS_NAME = "lithos_tree"


def read_master_config(path: Path) -> tuple[MasterConfig, Places]:
    """Raises Fatal with file and place."""
    try:
        config = read_master(path).value
    except ConfigError as error:
        raise Fatal(str(error)) from error
    return config, Places.of(config, path)


class Life:
    """Made, then `live`; if that says so, `prepare_execution` and execute the program again."""

    def __init__(self, config: MasterConfig, places: Places, *, log_stderr: bool, log_level: str | None) -> None:
        """Everything whose failure is fatal."""
        require_root(PROCESS_NAME)
        process.set_child_subreaper()
        process.set_name(PROCESS_NAME)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        ground.make_directories(places)
        self._config = config
        self._places = places
        self._log_level = log_level
        level = log_level or config.log_level
        self._logs = Logs(LogFile(places.default_log / config.log_file, level), {}, to_stderr=log_stderr)
        try:
            self._host = find_host(config, places)
            self._lock = MasterLock.take(places.pid_file)
            ground.join_group(self._host)
        except Fatal as error:
            self._logs.say("error", f"Fatal error: {error}")
            raise
        self._sockets = SharedSockets()
        self._notify = NotifySockets(places.notify)
        for text in ground.warnings(places):
            self._logs.say("warn", text)
        for name in missing_controllers(config, self._host.layout):
            self._logs.say("warn", f"this host has no cgroup controller `{name}`; its limits are not applied")
        try:
            ground.mount_sys(places)
        except OSError as error:
            text = f"cannot mount {places.sys}: {error.strerror}; containers with id maps will not start"
            self._logs.say("warn", text)

    def live(self) -> bool:
        """Supervise; False after a clean stop, True when the process is to execute itself again."""
        configured = read_configured(self._places)
        self._add_sandbox_logs(configured)
        self._log_config(configured)
        store = RecordStore(self._places.records)
        records, errors = store.read_all()
        for error in errors:
            self._logs.say("error", str(error))
        living = find_living(self._host, records, self._logs.say)
        remove_leftovers(self._host, self._logs.say)
        wanted = desired(configured, [one.record for one in living])
        for address in self._sockets.find_inherited():
            self._logs.say("info", f"Inherited the socket {address}")
        for one in living:
            for address in self._sockets.recover(one.record):
                self._logs.say(
                    "info", f'Recovered the socket {address} from "{one.record.name}"', _sandbox(one.record.name)
                )
        metrics = Metrics(self._places.metrics, _entries(wanted))
        metrics.count_restart()
        restarts = self._earlier_restarts()
        master = Master(self._host, wanted, self._logs, metrics, self._sockets, self._notify, restarts)
        outcome = asyncio.run(master.run(living, self._check_restart))
        metrics.close(remove=outcome is Outcome.STOPPED)
        if outcome is Outcome.STOPPED:
            self._take_down()
        return outcome is Outcome.RESTART

    def prepare_execution(self) -> None:
        """Sockets and the lock go along. Signals are blocked by now, and stay so until the fresh loop takes them."""
        service_manager.notify_reloading()
        self._sockets.let_inherit()
        self._notify.let_inherit()
        self._lock.let_inherit()

    def _take_down(self) -> None:
        self._logs.say("warn", "Stopped")
        ground.unmount_sys(self._places)
        ground.leave_group(self._host)
        for directory in (self._places.state, self._places.records, self._places.bundles, self._places.notify):
            with contextlib.suppress(OSError):  # a lithos_cmd still uses it
                directory.rmdir()
        self._lock.release()

    def _check_restart(self) -> None:
        """Can a fresh process use the configuration as it is now? Raises Fatal or NotFound."""
        config, places = read_master_config(self._places.config_file)
        find_programs(config, places.runtime)

    def _add_sandbox_logs(self, configured: Configured) -> None:
        for sandbox in configured.sandboxes.values():
            limits = sandbox.document.value if sandbox.document is not None else None
            level = self._log_level or (limits and limits.log_level) or self._config.log_level
            file = (limits and limits.log_file) or f"{sandbox.name}.log"
            self._logs.add_sandboxes({sandbox.name: LogFile(self._places.default_log / file, level)})

    def _log_config(self, configured: Configured) -> None:
        """Every problem once per life of the master, and the processes files into their history."""
        if configured.error is not None:
            self._logs.say("error", f"{configured.error}; nothing is started or stopped")
        for sandbox in configured.sandboxes.values():
            for problem in sandbox.all_errors:
                self._logs.say("error", str(problem), sandbox.name)
            for problem in sandbox.all_warnings:
                self._logs.say("warn", str(problem), sandbox.name)
            if sandbox.processes is not None and self._places.config_log is not None:
                try:
                    config_log.append(self._places.config_log, sandbox.name, sandbox.processes.value)
                except OSError as error:
                    self._logs.say("error", f"cannot write the config log: {error.strerror}", sandbox.name)

    def _earlier_restarts(self) -> dict[str, int]:
        """Of the instances that were started in earlier lives of the master, if those did not end cleanly."""
        try:
            status = read_status(self._places.status_file)
        except (OSError, ValueError) as error:
            self._logs.say("warn", str(error))
            return {}
        if status is None or status.boot_id != process.boot_id():
            return {}
        return {
            one.name: one.restarts
            for one in status.instances
            if one.state not in ("waiting", "broken") or one.restarts or one.error is not None
        }


def _entries(wanted: Desired) -> set[str]:
    instances = {instance.name.entry for instance in wanted.instances.values()}
    return instances | {name.rpartition(".")[0] for name in wanted.broken}


def _sandbox(name: str) -> str:
    return name.partition("/")[0]
