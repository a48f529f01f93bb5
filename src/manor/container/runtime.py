"""The driver of an OCI runtime: one short-lived process of it per call, no daemon and no shim.

A container started here becomes our child (if we are a child subreaper) as soon as the runtime has gone, and goes on
when we die. All calls block: asyncio shells run them with asyncio.to_thread.

Whoever reaps "any child" in the same process takes the runtime's exit status away from the call that waits for it; the
call then asks the pidfd, which works since Linux 6.15. Reap by pidfd, and only what you know.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from manor.config.errors import ManorError
from manor.container.choice import ENVIRONMENT, RuntimeBinary, RuntimeNotFound, find_runtime
from manor.container.descriptors import closed_gaps, closed_pipe, kept_owners, placed
from manor.container.runtime_log import last_message, parse_last_message
from manor.kernel import pidfds

__all__ = [
    "ContainerState",
    "Runtime",
    "RuntimeBinary",
    "RuntimeFailed",
    "RuntimeNotFound",
    "closed_gaps",
    "closed_pipe",
    "find_runtime",
]

START_TIMEOUT_S: Final = 60.0
CALL_TIMEOUT_S: Final = 30.0
KILLED_WITHIN_S: Final = 5.0  # a runtime that hangs in the kernel stays a while after it was killed
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024  # `list` of ten thousand containers is a tenth of this
MESSAGE_BYTES_MAX: Final = 65536
MESSAGE_CHARACTERS_MAX: Final = 1000

# Those that may be ignored in us and would stay so in the runtime and the container: Python ignores SIGPIPE.
_RESET: Final = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class RuntimeFailed(ManorError):
    """`runc run` of shop+web.0 failed: exec: "/usr/bin/pyton": no such file or directory"""

    def __init__(self, binary: RuntimeBinary, what: str, container: str, message: str) -> None:
        shown = " ".join(message.removeprefix(f"{binary.flavour} {what} failed: ").split())[:MESSAGE_CHARACTERS_MAX]
        super().__init__(f"`{binary.flavour} {what}` of {container} failed: {shown}")
        self.message = shown


class ContainerState(msgspec.Struct, frozen=True):
    """What a runtime knows of a container. `status` is `creating`, `created`, `running`, `paused` or `stopped`."""

    id: str
    status: str
    bundle: str
    pid: int = 0  # 0 when it has stopped


class Runtime:
    """One runtime and the directory where it keeps its containers' states.

    Args:
        root: the runtime's `--root`; containers of one root do not see those of another.
        cgroup_manager: `disabled` (crun only; runc ignores it) or `systemd`; None is the plain file system.
    """

    def __init__(self, binary: RuntimeBinary, root: Path, *, cgroup_manager: str | None = None) -> None:
        self.binary = binary
        self.root = root
        self._cgroups = _cgroup_options(binary, cgroup_manager)

    def run_detached(
        self,
        id: str,
        bundle: Path,
        *,
        pid_file: Path,
        log: Path,
        fds: Mapping[int, int] = {},
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        timeout_s: float = START_TIMEOUT_S,
        console_socket: Path | None = None,
    ) -> int:
        """Create and start a container; the pid of its first process.

        Args:
            fds: descriptor inside (3 and up) -> ours. Gaps are filled; `closed_gaps(fds)` must be closed by manor-init.
            stdin: see closed_pipe for an empty one; None: closed in the runtime, which may then use the number itself.
            console_socket: for `terminal: true`; the runtime sends the terminal's master over it.
        Raises:
            RuntimeFailed: with the last message of the runtime's log. What was made so far has been deleted.
        """
        return self._begin("run", id, bundle, pid_file, log, fds, (stdin, stdout, stderr), timeout_s, console_socket)

    def create(
        self,
        id: str,
        bundle: Path,
        *,
        pid_file: Path,
        log: Path,
        fds: Mapping[int, int] = {},
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        timeout_s: float = START_TIMEOUT_S,
        console_socket: Path | None = None,
    ) -> int:
        """As run_detached, but the container's program waits for `start`: mounts can be corrected meanwhile."""
        return self._begin("create", id, bundle, pid_file, log, fds, (stdin, stdout, stderr), timeout_s, console_socket)

    def start(self, id: str) -> None:
        """Let a created container's program begin."""
        self._call("start", id)

    def state(self, id: str) -> ContainerState | None:
        """None when the runtime knows no such container."""
        if not self._is_known(id):
            return None
        try:
            answer = self._call("state", id)
        except RuntimeFailed:
            if self._is_known(id):
                raise
            return None  # deleted meanwhile
        return msgspec.json.decode(answer, type=ContainerState)

    def list(self) -> Sequence[ContainerState]:
        """All containers below `root`."""
        if not self.root.exists():
            return ()
        answer = self._call("list", "", "--format", "json")
        return msgspec.json.decode(answer or b"null", type=tuple[ContainerState, ...] | None) or ()

    def kill(self, id: str, number: int) -> None:
        """Signal the container's first process. With a pidfd at hand, signal that instead."""
        self._call("kill", id, arguments=(str(int(number)),))

    def delete(self, id: str, *, force: bool = True) -> None:
        """Forget a container and remove its cgroup; by force also one that runs. Nothing happens to an unknown one."""
        if self._is_known(id):
            self._call("delete", id, *(["--force"] if force else []))

    def exec_detached(
        self,
        id: str,
        process: Path,
        *,
        pid_file: Path,
        fds: Mapping[int, int] = {},
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        log: Path | None = None,
        timeout_s: float = START_TIMEOUT_S,
        console_socket: Path | None = None,
    ) -> int:
        """Put one more process into a running container; its pid. It becomes our child like the first one.

        `process` is a file of bundle.write_process; the log is kept beside it unless named.
        """
        log = log or process.with_suffix(".log")
        options: Sequence[str | Path] = [
            "--detach",
            "--process",
            process,
            *_start_options(pid_file, fds, console_socket),
        ]
        return self._spawn("exec", id, pid_file, log, options, fds, (stdin, stdout, stderr), timeout_s)

    def _begin(
        self,
        command: str,
        id: str,
        bundle: Path,
        pid_file: Path,
        log: Path,
        fds: Mapping[int, int],
        stdio: Sequence[int | None],
        timeout_s: float,
        console_socket: Path | None,
    ) -> int:
        if self._is_known(id):  # the runtime would refuse too, but then what was made is deleted below: not that one
            raise RuntimeFailed(self.binary, command, id, "there is a container of this name; delete it first")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        detach = ["--detach"] if command == "run" else []
        options = (*detach, "--bundle", bundle, *_start_options(pid_file, fds, console_socket))
        try:
            return self._spawn(command, id, pid_file, log, options, fds, stdio, timeout_s)
        except RuntimeFailed:
            with contextlib.suppress(RuntimeFailed):  # the first failure is the one to tell
                self.delete(id)
            raise

    def _spawn(
        self,
        command: str,
        id: str,
        pid_file: Path,
        log: Path,
        options: Sequence[str | Path],
        fds: Mapping[int, int],
        stdio: Sequence[int | None],
        timeout_s: float,
    ) -> int:
        """Call the runtime with descriptors for the container; the pid it wrote. Its messages are in the log."""
        log.unlink(missing_ok=True)
        words = (*self._common(log), command, *options, id)
        try:
            with placed(fds, stdio) as actions, kept_owners(stdio):
                ending = _run(words, actions, timeout_s)
            if ending:
                raise RuntimeFailed(self.binary, command, id, last_message(log) or ending)
            return int(pid_file.read_text())
        except OSError as error:
            raise RuntimeFailed(self.binary, command, id, _reason(error)) from error

    def _call(self, command: str, id: str, *options: str, arguments: Sequence[str] = ()) -> bytes:
        """Call the runtime for an answer; with no log file its messages come on stderr."""
        words = (*self._common(), command, *options, *([id] if id else []), *arguments)
        answer, message = os.memfd_create("answer", os.MFD_CLOEXEC), os.memfd_create("message", os.MFD_CLOEXEC)
        empty = closed_pipe()
        try:
            with placed({}, (empty, answer, message)) as actions:
                ending = _run(words, actions, CALL_TIMEOUT_S)
            if ending:
                said = parse_last_message(os.pread(message, MESSAGE_BYTES_MAX, 0))
                raise RuntimeFailed(self.binary, command, id or "all", said or ending)
            return os.pread(answer, ANSWER_BYTES_MAX, 0)
        except OSError as error:
            raise RuntimeFailed(self.binary, command, id or "all", _reason(error)) from error
        finally:
            for fd in (answer, message, empty):
                os.close(fd)

    def _common(self, log: Path | None = None) -> Sequence[str | Path]:
        logging: list[str | Path] = ["--log", log] if log else []
        return [self.binary.path, "--root", self.root, *logging, "--log-format", "json", *self._cgroups]

    def _is_known(self, id: str) -> bool:
        """Both runtimes keep a directory per container; to look saves a process, and a message to interpret."""
        return (self.root / id).exists()


def _cgroup_options(binary: RuntimeBinary, cgroup_manager: str | None) -> Sequence[str]:
    match (binary.flavour, cgroup_manager):
        case (_, None):
            return []
        case ("crun", manager):
            return [f"--cgroup-manager={manager}"]
        case ("runc", "systemd"):
            return ["--systemd-cgroup"]
        case _:
            return []


def _start_options(pid_file: Path, fds: Mapping[int, int], console_socket: Path | None) -> Sequence[str | Path]:
    pid_file.unlink(missing_ok=True)  # one of an earlier start must not be read as this one's
    options: list[str | Path] = ["--pid-file", pid_file]
    if fds:
        options += ["--preserve-fds", str(max(fds) - 2)]
    if console_socket is not None:
        options += ["--console-socket", console_socket]
    return options


def _run(words: Sequence[str | Path], actions: Sequence[tuple[int, ...]], timeout_s: float) -> str:
    """Call the runtime and wait for it: empty when it succeeded, else how it ended. TimeoutError: it was killed.

    posix_spawn and not subprocess: that cannot place descriptors at given numbers but by code between fork and exec,
    which is not safe with threads. In a session of its own, so that no Ctrl-C reaches a runtime at work.
    """
    pid = os.posix_spawn(
        words[0], tuple(words), ENVIRONMENT, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
    )
    pidfd = pidfds.open_pidfd(pid)
    try:
        if pidfds.wait_readable(pidfd, timeout_s):
            status = pidfds.collect(pidfd)
            return "" if status is None else _describe(os.waitstatus_to_exitcode(status))
        pidfds.send_signal(pidfd, signal.SIGKILL)
        pidfds.wait_readable(pidfd, KILLED_WITHIN_S)
        pidfds.collect(pidfd)
        raise TimeoutError(f"no end after {timeout_s:.0f} s, so it was killed")
    finally:
        os.close(pidfd)


def _describe(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}" if code else ""


def _reason(error: OSError) -> str:
    """The kernel's word and what it is about; a TimeoutError of ours has its own."""
    if error.strerror is None:
        return str(error)
    return f"{os.fspath(error.filename)}: {error.strerror}" if error.filename else error.strerror
