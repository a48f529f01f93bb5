"""The start of one container, step by step, and the removal of all it leaves. Both block: call them in a thread.

    refuse what the host cannot give -> state dir, host directories -> output and its start line -> bundle and record
    -> runtime -> pids into the record

Whatever fails, nothing of it remains.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from manor.container import bundle
from manor.container.descriptors import closed_pipe
from manor.container.runtime import RuntimeFailed, closed_gaps
from manor.container.tmpfs_modes import set_tmpfs_modes
from manor.kernel import cgroups, pidfds, process
from manor.lithos.containers.environment import pid_variables
from manor.lithos.containers.host import Host
from manor.lithos.containers.host_directories import make_missing
from manor.lithos.containers.output import open_output, output_of, start_line, write_line
from manor.lithos.containers.specification import INIT_PATH, Prepared, oci_config, passed_fds
from manor.lithos.containers.state_dir import make_state_dir, remove_state_dir, write_hosts, write_resolv_conf
from manor.lithos.errors import StartRefused
from manor.lithos.files.names import InstanceName
from manor.lithos.files.probes import NOTIFY_PATH
from manor.lithos.files.record import Record, RecordStore
from manor.lithos.files.volumes import Tmpfs
from manor.lithos.rules.host_state import host_findings
from manor.lithos.rules.settle import Instance

MAIN_PROCESS_WITHIN_S: Final = 1.0  # how long init may take to start the main process before we go on without its pid
MAIN_PROCESS_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """The caller's own streams, for interactive commands; or a terminal to be made.

    created: called when the container is there and its program does not run yet: to receive the terminal.
    """

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    console_socket: Path | None = None
    created: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One start. sockets: descriptor inside -> ours. stdio None: as for Daemons."""

    instance: Instance
    record: Record
    sockets: Mapping[int, int]
    notify_socket: Path | None
    term: str
    more_arguments: Sequence[str] = ()
    stdio: Stdio | None = None


@dataclass(frozen=True, slots=True)
class Living:
    """A container that runs; the pidfd is of its init and was opened while it lived."""

    record: Record
    pidfd: int


def launch(request: Request, host: Host) -> Living:
    """Start a container. Raises StartRefused or RuntimeFailed, leaving nothing."""
    remove_container(request.record.id, request.instance.name, host)
    try:
        return _launch(request, host)
    except (StartRefused, RuntimeFailed):
        remove(request.record, host)
        raise
    except OSError as error:
        remove(request.record, host)
        raise StartRefused(f"{error.filename or 'start'}: {error.strerror}") from error


def _launch(request: Request, host: Host) -> Living:
    instance, places = request.instance, host.places
    devfs = _usable_devfs(host)
    refuse_if_impossible(instance, host, devfs)
    directory = make_state_dir(places.state, instance)
    mount_hosts = write_hosts(instance, directory)
    mount_resolv_conf = write_resolv_conf(instance, directory)
    for volume in instance.volumes:
        make_missing(volume)
    prepared = Prepared(
        image=instance.image.resolve(),
        state_dir=directory,
        devfs=devfs,
        notify_socket=request.notify_socket,
        mount_hosts=mount_hosts,
        mount_resolv_conf=mount_resolv_conf,
        term=request.term,
        terminal=request.stdio is not None and request.stdio.console_socket is not None,
        more_arguments=request.more_arguments,
    )
    written = bundle.write_bundle(places.bundles / request.record.id, oci_config(instance, host, prepared))
    record = msgspec.structs.replace(
        request.record,
        image=str(prepared.image),
        cgroup=host.cgroup_path(instance.name.cgroup),
        output=None if request.stdio is not None else output_of(instance, places.stdio_log, directory),
    )
    RecordStore(places.records).write(record)
    pid = _run(request, record, written, host)
    pidfd = pidfds.open_pidfd(pid)
    return Living(_with_pids(record, pid), pidfd)


def _run(request: Request, record: Record, written: bundle.Bundle, host: Host) -> int:
    """Call the runtime; the pid of the container's init."""
    modes = [(v.mount_point, v.volume.mode) for v in request.instance.volumes if isinstance(v.volume, Tmpfs)]
    created = request.stdio.created if request.stdio is not None else None
    in_two_steps = bool(modes) or created is not None
    with contextlib.ExitStack() as opened:
        stdin, stdout, stderr = _stdio(request, record, opened)
        fds = {fd: ours for fd, ours in request.sockets.items() if fd != 0}
        start = host.runtime.create if in_two_steps else host.runtime.run_detached
        pid = start(
            record.id,
            written.path,
            pid_file=written.path / "pid",
            log=written.path / "runtime.log",
            fds=fds,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            console_socket=request.stdio.console_socket if request.stdio is not None else None,
        )
    if in_two_steps:
        set_tmpfs_modes(pid, modes)
        if created is not None:
            created()
        host.runtime.start(record.id)
    return pid


def _stdio(request: Request, record: Record, opened: contextlib.ExitStack) -> tuple[int | None, int | None, int | None]:
    if request.stdio is not None:
        return request.stdio.stdin, request.stdio.stdout, request.stdio.stderr
    assert record.output is not None
    output = open_output(record.output)
    opened.callback(os.close, output)
    command = (request.instance.container.executable, *request.instance.arguments, *request.more_arguments)
    write_line(record.output, start_line(record.name, command))
    if 0 in request.sockets:
        return request.sockets[0], output, output
    stdin = closed_pipe()
    opened.callback(os.close, stdin)
    return stdin, output, output


def _with_pids(record: Record, pid: int) -> Record:
    started = msgspec.structs.replace(record, init_pid=pid, init_start_time=process.start_time(pid))
    main = find_main_process(pid)
    if main is None:
        return started
    return msgspec.structs.replace(started, main_pid=main[0], main_start_time=main[1])


def find_main_process(init_pid: int) -> tuple[int, int] | None:
    """Pid and start time of the first child of init; None when there was none in time, or it is over already."""
    deadline = time.monotonic() + MAIN_PROCESS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if children := process.children(init_pid):
                first = min(children, key=process.start_time)
                return first, process.start_time(first)
            if process.state(init_pid) == "Z":
                return None
        except ProcessLookupError:
            return None
        time.sleep(MAIN_PROCESS_POLL_S)
    return None


def refuse_if_impossible(instance: Instance, host: Host, devfs: Path | None) -> None:
    """What only the host can say, and what only manor-init can do. Raises StartRefused with every reason."""
    reasons = [
        f"{instance.entry.config}: {f.text}" for f in host_findings(instance, devfs, starting=True) if not f.warning
    ]
    if not host.own_init:
        reasons += init_problems(instance)
    if reasons:
        raise StartRefused("; ".join(reasons))


def init_problems(instance: Instance) -> list[str]:
    """What another init than manor-init cannot do (rule V13)."""
    problems = []
    if pid_variables(instance):
        problems.append("variables with the process's pid need `container-init: auto`")
    if closed_gaps(passed_fds(instance)):
        problems.append("gaps between descriptors need `container-init: auto`; number them from 3 on")
    if any(port.non_block for port in instance.ports):
        problems.append("`set-non-block` needs `container-init: auto`")
    return problems


def _usable_devfs(host: Host) -> Path | None:
    """The directory for /dev with the two files that are mounted over, or None where they cannot be made."""
    if host.devfs is None:
        return None
    for name in (INIT_PATH, NOTIFY_PATH):
        path = host.devfs / name.removeprefix("/dev/")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        except OSError:
            return None  # read-only: a private tmpfs does as well
    return host.devfs


def remove(record: Record, host: Host) -> None:
    """Everything a container has left, the record last: who dies in between begins again."""
    remove_container(record.id, InstanceName.parse(record.name), host)
    if record.cgroup is not None and host.layout is not None:
        with contextlib.suppress(OSError):  # the runtime has removed it, mostly
            cgroups.remove(record.cgroup, at=host.layout)
    RecordStore(host.places.records).remove(record.id)


def remove_container(container_id: str, name: InstanceName, host: Host) -> None:
    """The container itself, its bundle and its state dir. Raises RuntimeFailed when the runtime cannot delete it."""
    host.runtime.delete(container_id)
    remove_state_dir(host.places.state, name)
    shutil.rmtree(host.places.bundles / container_id, ignore_errors=True)
