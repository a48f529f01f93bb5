"""Which recorded containers are alive when a master starts, and the removal of what is left of the others."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from manor.container.runtime import RuntimeFailed
from manor.kernel import cgroups, pidfds, process
from manor.lithos.containers.host import Host
from manor.lithos.containers.launch import Living, find_main_process, remove
from manor.lithos.files.names import InstanceName
from manor.lithos.files.record import Record, RecordStore

SCOPE: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*):([A-Za-z0-9_][A-Za-z0-9_.-]*)\.(\d+)\.scope")

Say = Callable[[str, str], None]


def find_living(host: Host, records: Iterable[Record], say: Say) -> list[Living]:
    """The living containers of the master. The dead are removed; commands stay while they or their callers live."""
    boot_id = process.boot_id()
    living: list[Living] = []
    for record in records:
        completed = record if record.init_pid is not None else _completed(record, host)
        pidfd = _open(completed, boot_id)
        if record.owner == "cmd":
            if pidfd is not None:
                os.close(pidfd)
            elif not _lives(record.owner_pid, record.owner_start_time):
                _remove(record, host, say)
        elif pidfd is not None:
            living.append(Living(completed, pidfd))
        else:
            _remove(record, host, say)
    return living


def _completed(record: Record, host: Host) -> Record:
    """Its master died while it was started. Only what the runtime says runs may be taken over."""
    try:
        state = host.runtime.state(record.id)
    except RuntimeFailed:
        return record
    cgroup = host.cgroup_path(InstanceName.parse(record.name).cgroup)
    if state is None or state.status != "running" or not state.pid:
        return record
    if cgroup is not None and state.pid not in cgroups.processes(cgroup, recursive=True, at=host.layout):
        return record
    try:
        found = msgspec.structs.replace(
            record, init_pid=state.pid, init_start_time=process.start_time(state.pid), state="running", cgroup=cgroup
        )
    except ProcessLookupError:
        return record
    main = find_main_process(state.pid)
    return found if main is None else msgspec.structs.replace(found, main_pid=main[0], main_start_time=main[1])


def _open(record: Record, boot_id: str) -> int | None:
    """A pidfd of the recorded init; None unless it is that very process."""
    if record.boot_id != boot_id or record.init_pid is None:
        return None
    try:
        pidfd = pidfds.open_pidfd(record.init_pid)
    except OSError:
        return None
    if _lives(record.init_pid, record.init_start_time):
        return pidfd
    os.close(pidfd)
    return None


def _lives(pid: int | None, start_time: int | None) -> bool:
    """Is it that process, and not one that only waits to be reaped?"""
    if pid is None:
        return False
    try:
        return process.start_time(pid) == start_time and process.state(pid) not in "ZX"
    except ProcessLookupError:
        return False


def _remove(record: Record, host: Host, say: Say) -> None:
    say("info", f'Removing what is left of "{record.name}"')
    if record.cgroup is not None:
        cgroups.kill_all(record.cgroup, at=host.layout)
    try:
        remove(record, host)
    except (RuntimeFailed, OSError) as error:
        say("error", f'Cannot remove what is left of "{record.name}": {error}')


def remove_leftovers(host: Host, say: Say) -> None:
    """Containers without record, directories and groups of no recorded container. Each with a warning."""
    recorded = {record.id: record for record in RecordStore(host.places.records).read_all()[0]}
    _remove_unrecorded_containers(host, recorded, say)
    names = [InstanceName.parse(record.name) for record in recorded.values()]
    kept = {(name.sandbox, f"{name.process}.{name.index}") for name in names}
    for sandbox in _directories(host.places.state):
        for instance in _directories(sandbox):
            if (sandbox.name, instance.name) not in kept:
                say("warn", f"Removing the state dir {instance} of no container")
                shutil.rmtree(instance, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty
            sandbox.rmdir()
    for bundle in _directories(host.places.bundles):
        if bundle.name not in recorded:
            say("warn", f"Removing the bundle {bundle} of no container")
            shutil.rmtree(bundle, ignore_errors=True)
    _remove_empty_groups(host, {name.cgroup for name in names}, say)


def _remove_unrecorded_containers(host: Host, recorded: Iterable[str], say: Say) -> None:
    try:
        known = host.runtime.list()
        for state in known:
            if state.id not in recorded:
                say("warn", f"Deleting the container {state.id}, which has no record")
                host.runtime.delete(state.id)
    except RuntimeFailed as error:
        say("error", str(error))


def _remove_empty_groups(host: Host, kept: Iterable[str], say: Say) -> None:
    if host.cgroup_name is None or host.layout is None:
        return
    for hierarchy in host.layout.hierarchies:
        for group in _directories(hierarchy / host.cgroup_name):
            if SCOPE.fullmatch(group.name) and group.name not in kept:
                with contextlib.suppress(OSError):  # it has processes after all
                    group.rmdir()
                    say("warn", f"Removed the cgroup {group} of no container")


def _directories(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())
    except FileNotFoundError:
        return []
