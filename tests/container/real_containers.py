"""Real containers of the host's own programs: an almost empty root with the host's /usr bound into it."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.container import bundle, defaults
from manor.container.init import find_init, init_arguments
from manor.container.runtime import Runtime, closed_gaps, closed_pipe
from manor.kernel import cgroups, pidfds, process

INIT_INSIDE = "/dev/.init"
ENDS_WITHIN_S = 30.0

number = itertools.count()


@dataclass
class Running:
    """A container that was started, and where its output goes."""

    id: str
    pid: int
    pidfd: int
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def send(self, number: int) -> None:
        pidfds.send_signal(self.pidfd, number)

    def ended(self) -> int:
        """Wait for the end: the exit code, negative for a signal."""
        assert pidfds.wait_readable(self.pidfd, ENDS_WITHIN_S), f"still running; so far: {self.output}"
        status = pidfds.collect(self.pidfd)
        assert status is not None
        return os.waitstatus_to_exitcode(status)


@dataclass
class Containers:
    """Starts containers in a directory of its own and takes them all away again."""

    runtime: Runtime
    directory: Path
    cgroup: str
    started: list[Running] = field(default_factory=list)

    def config(
        self,
        command: Sequence[str],
        *,
        init_options: Sequence[str] = ("--",),
        env: Sequence[str] = ("PATH=/usr/bin:/usr/sbin",),
        uid: int = 0,
        namespaces: Sequence[str] = ("pid", "ipc", "uts", "mount"),
        mounts: Sequence[bundle.Mount] = (),
        linux: Mapping[str, Any] = {},
        terminal: bool = False,
        capabilities: Sequence[str] = (),
    ) -> bundle.Config:
        root = self.directory / "rootfs"
        make_root(root)
        return bundle.Config(
            process=bundle.Process(
                args=(INIT_INSIDE, *init_options, *command),
                cwd="/",
                user=bundle.User(uid=uid, gid=uid),
                env=tuple(env),
                terminal=terminal,
                capabilities=bundle.Capabilities.same(capabilities),
                no_new_privileges=True,
            ),
            root=bundle.Root(path=str(root), readonly=True),
            mounts=(
                defaults.PROC,
                defaults.DEV_TMPFS,
                defaults.DEVPTS,
                defaults.SYSFS,
                defaults.read_only_bind("/usr", "/usr"),
                defaults.read_only_bind(find_init(), INIT_INSIDE),
                *mounts,
            ),
            linux=bundle.Linux(
                namespaces=tuple(bundle.Namespace(type=kind) for kind in namespaces),
                cgroups_path=f"{self.cgroup}/box.{next(number)}",
                **linux,
            ),
        )

    def start(
        self,
        command: Sequence[str],
        *,
        fds: Mapping[int, int] = {},
        before_start: Callable[[int], None] | None = None,
        console_socket: Path | None = None,
        stdin: int | None = None,
        **changes: Any,
    ) -> Running:
        """Start the command under manor-init; `before_start` gets the pid of the container while it waits."""
        if fds and "init_options" not in changes:
            changes["init_options"] = init_arguments(close=closed_gaps(fds))
        return self.start_config(
            self.config(command, **changes),
            fds=fds,
            before_start=before_start,
            console_socket=console_socket,
            stdin=stdin,
        )

    def start_config(
        self,
        config: bundle.Config,
        *,
        fds: Mapping[int, int] = {},
        before_start: Callable[[int], None] | None = None,
        console_socket: Path | None = None,
        stdin: int | None = None,
    ) -> Running:
        id = f"box+{next(number)}"
        place = self.directory / id
        bundle.write_bundle(place, config)
        output = place / "output"
        empty = closed_pipe()
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            begin = self.runtime.create if before_start else self.runtime.run_detached
            pid = begin(
                id,
                place,
                pid_file=place / "pid",
                log=place / "log",
                fds=fds,
                stdin=empty if stdin is None else stdin,
                stdout=out,
                stderr=out,
                console_socket=console_socket,
            )
        finally:
            os.close(empty)
            os.close(out)
        running = Running(id, pid, pidfds.open_pidfd(pid), output)
        self.started.append(running)
        if before_start:
            before_start(pid)
            self.runtime.start(id)
        return running

    def run(self, command: Sequence[str], **changes: Any) -> tuple[int, str]:
        """Start, wait for the end: exit code and output."""
        running = self.start(command, **changes)
        return running.ended(), running.output

    def remove_all(self) -> None:
        for running in self.started:
            if not pidfds.wait_readable(running.pidfd, 0):
                pidfds.send_signal(running.pidfd, signal.SIGKILL)
                pidfds.wait_readable(running.pidfd, ENDS_WITHIN_S)
            pidfds.collect(running.pidfd)
            os.close(running.pidfd)
            self.runtime.delete(running.id)
        cgroups.remove(self.cgroup)
        assert self.runtime.list() == ()


def make_root(root: Path) -> None:
    """Directories to mount on, and the links that a merged /usr wants."""
    if root.exists():
        return
    for name in ("proc", "dev", "sys", "usr", "tmp", "etc", "run"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")


class Screen:
    """Reads what a terminal shows until its other end is closed."""

    def __init__(self, terminal: int) -> None:
        self.shown = b""
        self._terminal = terminal
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self._terminal, 4096)
            except OSError:  # EIO: the last process of the other end has ended
                return
            if not block:
                return
            self.shown += block

    def close(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        os.close(self._terminal)


def commands_below(pid: int) -> list[str]:
    found = []
    for one in [pid, *process.descendants(pid)]:
        try:
            found.append(Path(f"/proc/{one}/comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
