"""One run of a `Command`: from its entry to its exit status, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence

from manor.container.console import ConsoleSocket
from manor.container.runtime import RuntimeFailed
from manor.kernel import process
from manor.lithos import ground
from manor.lithos.configured import ConfiguredSandbox, positioned, read_one
from manor.lithos.containers.host import Host, find_host
from manor.lithos.containers.launch import Living, Request, Stdio, launch, remove
from manor.lithos.containers.output import write_line
from manor.lithos.errors import Fatal, StartRefused
from manor.lithos.files.master import MasterConfig, Places
from manor.lithos.files.names import COMMAND_PREFIX, InstanceName, is_plain_name, is_process_name
from manor.lithos.files.record import Record
from manor.lithos.foreground import Foreground, copy_window_size, hold_signals
from manor.lithos.logs import LogFile, Logs
from manor.lithos.rules.settle import Instance, settle
from manor.lithos.supervision.endings import Ending


def run_command(
    config: MasterConfig,
    places: Places,
    sandbox: str,
    name: str,
    arguments: Sequence[str],
    *,
    log_level: str | None,
    log_stderr: bool,
) -> int:
    """The exit status of the main process, 128+N after signal N, 0 for a code of `normal-exit-codes`. Raises Fatal."""
    configured = _configured(places, sandbox)
    instance = _instance(configured, name)
    ground.make_directories(places)
    host = find_host(config, places)
    logs = _logs(config, places, configured, log_level=log_level, log_stderr=log_stderr)
    for warning in configured.entries[name].warnings:
        logs.say("warn", str(warning), sandbox)
    if instance.ports:
        logs.say("warn", f'"{instance.name}": `tcp-ports` of commands are ignored', sandbox)
        instance = dataclasses.replace(instance, ports=())
    process.set_child_subreaper()
    hold_signals()
    record = _record(instance)
    terminal = Terminal()
    with _streams(instance, host, terminal) as stdio:
        request = Request(
            instance=instance,
            record=record,
            sockets={},
            notify_socket=None,
            term=os.environ.get("TERM") or "dumb",
            more_arguments=arguments,
            stdio=stdio,
        )
        try:
            living = launch(request, host)
        except (StartRefused, RuntimeFailed) as error:
            logs.say("error", f'Cannot start "{instance.name}": {error}', sandbox)
            raise Fatal(f"cannot start {instance.name}: {error}") from error
        logs.say("warn", f'Started "{instance.name}" (pid {living.record.init_pid})', sandbox)
        try:
            return _wait(instance, living, terminal.fd, logs)
        finally:
            os.close(living.pidfd)
            remove(living.record, host)


class Terminal:
    """The master end of a container's terminal, once it was made."""

    def __init__(self) -> None:
        self.fd: int | None = None

    def take(self, console: ConsoleSocket) -> None:
        """With the size of our own, before anything in the container can ask for it."""
        self.fd = console.receive()
        copy_window_size(sys.stdin.fileno(), self.fd)


def _configured(places: Places, sandbox: str) -> ConfiguredSandbox:
    if not is_plain_name(sandbox):
        raise Fatal(f"`{sandbox}` cannot be the name of a sandbox")
    if not places.sandbox_file(sandbox).exists():
        raise Fatal(f"there is no sandbox `{sandbox}`; make {places.sandbox_file(sandbox)}")
    configured = read_one(sandbox, places)
    if configured.errors:
        raise Fatal("\n".join(map(str, configured.errors)))
    return configured


def _instance(configured: ConfiguredSandbox, name: str) -> Instance:
    entry = configured.entries.get(name) if is_process_name(name) else None
    if entry is None:
        known = ", ".join(n for n, one in configured.entries.items() if one.entry.kind == "Command") or "none"
        raise Fatal(f"sandbox {configured.name} has no entry `{name}`; its commands are: {known}")
    if entry.entry.kind != "Command":
        raise Fatal(f"{configured.name}/{name} is a {entry.entry.kind}; only entries with `kind: Command` can be run")
    if entry.errors:
        raise Fatal("\n".join(map(str, entry.errors)))
    assert configured.document is not None and entry.container is not None
    instance_name = InstanceName(configured.name, f"{COMMAND_PREFIX}{name}", os.getpid())
    image = entry.instances[0].image
    instance, findings = settle(instance_name, entry.entry, configured.document.value, entry.container.value, image)
    if instance is None:
        raise Fatal("\n".join(str(positioned(f, configured, entry)) for f in findings if not f.warning))
    return instance


def _logs(
    config: MasterConfig, places: Places, configured: ConfiguredSandbox, *, log_level: str | None, log_stderr: bool
) -> Logs:
    assert configured.document is not None
    limits = configured.document.value
    level = log_level or limits.log_level or config.log_level
    file = LogFile(places.default_log / (limits.log_file or f"{configured.name}.log"), level)
    return Logs(None, {configured.name: file}, to_stderr=log_stderr)


def _record(instance: Instance) -> Record:
    now, config = process.boottime(), instance.container
    return Record(
        name=str(instance.name),
        owner="cmd",
        owner_pid=os.getpid(),
        owner_start_time=process.start_time(os.getpid()),
        config=instance.config,
        id=instance.name.container_id,
        state="starting",
        boot_id=process.boot_id(),
        started_at=now,
        restart_min=now,
        kill_timeout=config.kill_timeout,
        normal_exit_codes=config.normal_exit_codes,
    )


@contextlib.contextmanager
def _streams(instance: Instance, host: Host, terminal: Terminal) -> Iterator[Stdio | None]:
    """The caller's streams or a terminal of its own for interactive commands; None for the others."""
    if not instance.container.interactive:
        yield None
    elif sys.stdin.isatty() and sys.stdout.isatty():
        # A short name beside the bundles: launch() makes the bundle's own directory anew.
        with ConsoleSocket(host.places.runtime / f"tty.{os.getpid()}") as console:
            yield Stdio(console_socket=console.path, created=lambda: terminal.take(console))
    else:
        yield Stdio(stdin=0, stdout=1, stderr=2)


def _wait(instance: Instance, living: Living, terminal: int | None, logs: Logs) -> int:
    record, name = living.record, str(instance.name)
    foreground = Foreground(living, record.kill_timeout, terminal)
    ending, killed = asyncio.run(foreground.wait())
    uptime_s = int(process.boottime() - record.started_at)
    if killed:
        logs.say("error", f'Container "{name}" did not stop in {record.kill_timeout:g} s', instance.name.sandbox)
    logs.say("warn", f'Container "{name}" (pid: {record.main_pid or record.init_pid}) {ending}', instance.name.sandbox)
    if record.output is not None:
        with contextlib.suppress(OSError):  # the status is worth more than the line
            write_line(record.output, f'----- Process "{name}" {ending}, uptime {uptime_s}s -----')
    return exit_status(ending, record.normal_exit_codes)


def exit_status(ending: Ending, normal_exit_codes: Sequence[int]) -> int:
    if ending.code is not None and ending.code in normal_exit_codes:
        return 0
    if ending.signal is not None:
        return 128 + ending.signal
    return 1 if ending.code is None else ending.code
