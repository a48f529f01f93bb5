"""A child process in namespaces of its own (user, mount, pid), in which images are built and commands are started.

Theory of operation. Three processes share the work:

    vagga ──fork──> keeper ──fork──> inside
    (the caller)    (unshares, gets   (pid 1 of the new namespace, uid 0; runs the given function)
                     its id maps)

`inside` dies with `keeper`, `keeper` with vagga, by parent-death signals; and when pid 1 of a pid namespace dies the
kernel kills everything in it. So nothing is left however vagga ends. The mounts go with the mount namespace. What
`inside` has to tell comes over a socket: a pidfd while it runs, one outcome at the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from manor.config.errors import ManorError
from manor.kernel import id_map, mounts, namespaces, process
from manor.vagga import durable
from manor.vagga.errors import PreparationError
from manor.vagga.id_ranges import Maps

MESSAGE_BYTES_MAX: Final = 65536
IGNORED: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN,
                  signal.SIGTTOU)  # fmt: skip  # they are for vagga, which passes them on


class Outcome(msgspec.Struct, omit_defaults=True):
    """How it ended: a value, or a failure to be raised again on the caller's side."""

    value: str = ""
    failure: str | None = None
    exit_status: int = 121


class Failed(ManorError):
    """What failed inside, with its message and exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Channel:
    """The inner end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send_fd(self, word: bytes, fd: int) -> None:
        """Hand a descriptor to vagga."""
        socket.send_fds(self._socket, [word], [fd])

    def finish(self, outcome: Outcome) -> None:
        """The last word."""
        outcome.value, outcome.failure = (
            outcome.value[: MESSAGE_BYTES_MAX // 4],
            outcome.failure and outcome.failure[: MESSAGE_BYTES_MAX // 4],
        )
        self._socket.send(msgspec.json.encode(outcome))


class Enclosure:
    """A running child. `wait` gives what its function returned, or raises what it raised."""

    def __init__(self, maps: Maps, function: Callable[[Channel], str]) -> None:
        durable.remember_pid()
        outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ready_r, ready_w = os.pipe()
        mapped_r, mapped_w = os.pipe()
        self.keeper = os.fork()
        if self.keeper == 0:
            _never_return(lambda: _keep(inner, ready_w, mapped_r, (outer.fileno(), ready_r, mapped_w), function))
        inner.close()
        os.close(ready_w)
        os.close(mapped_r)
        self._socket = outer
        try:
            with open(ready_r, "rb") as ready:
                complaint = ready.read().decode()
            if complaint:
                raise PreparationError(complaint)
            _write_maps(self.keeper, maps)
            os.write(mapped_w, b"1")
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(mapped_w)

    def receive(self) -> tuple[bytes, list[int]]:
        """The next message and its descriptors; empty when the child has ended."""
        message, fds, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES_MAX, 4)
        return message, list(fds)

    def fileno(self) -> int:
        """Readable when there is a message, and at the end."""
        return self._socket.fileno()

    def wait(
        self,
        on_fd: Callable[[bytes, int], None] = lambda word, fd: os.close(fd),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> str:
        """Until it ends.

        Args:
            on_fd: gets the descriptors that come meanwhile.
            meanwhile: called before each message; it may block until there is one.
        """
        outcome = None
        while True:
            meanwhile()
            message, fds = self.receive()
            if fds:
                on_fd(message, fds[0])
            elif message:
                outcome = msgspec.json.decode(message, type=Outcome)
                break
            else:
                break
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.keeper, 0)
        if outcome is None:
            raise PreparationError("the process that works inside the container's namespaces was killed")
        if outcome.failure is not None:
            raise Failed(outcome.failure, outcome.exit_status)
        return outcome.value

    def kill(self) -> None:
        """End it with everything inside, and wait until it has ended."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.keeper, signal.SIGKILL)
            os.waitpid(self.keeper, 0)
        self._socket.close()


def _write_maps(pid: int, maps: Maps) -> None:
    try:
        id_map.write_maps(pid, maps.uids, maps.gids)
    except FileNotFoundError as error:
        raise PreparationError(f"`{error.filename}` {error.strerror}; install the package `uidmap`") from error
    except OSError as error:
        raise PreparationError(f"cannot map ids: {error.filename or ''}: {error.strerror}") from error


def _never_return(function: Callable[[], int]) -> None:
    """Run in a forked child; whatever happens, the caller's code is not continued there."""
    status = 120
    try:
        status = function()
    except BaseException:
        if os.environ.get("VAGGA_LOG") in ("debug", "trace"):
            import traceback

            traceback.print_exc()
    finally:
        os._exit(status)


def _keep(
    inner: socket.socket, ready: int, mapped: int, foreign: tuple[int, ...], function: Callable[[Channel], str]
) -> int:
    """The process in the middle: it makes the namespaces and waits for the one inside."""
    vagga = os.getppid()
    for fd in foreign:
        os.close(fd)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        namespaces.unshare(namespaces.NEWUSER | namespaces.NEWNS | namespaces.NEWPID)
    except OSError as error:
        os.write(ready, _why_no_namespaces(error).encode())
        return 121
    os.close(ready)
    if not os.read(mapped, 1):
        return 121
    os.close(mapped)
    os.setresgid(0, 0, 0)
    with contextlib.suppress(PermissionError):  # denied with a map of one group, where there is nothing to give up
        os.setgroups([])
    os.setresuid(0, 0, 0)
    process.set_parent_death_signal(signal.SIGKILL)  # not before setresuid, which takes it back
    if os.getppid() != vagga:
        return 121
    alive_r, alive_w = os.pipe()
    inside = os.fork()
    if inside == 0:
        os.close(alive_w)
        _never_return(lambda: _be_inside(inner, alive_r, function))
    inner.close()
    os.close(alive_r)
    _, status = os.waitpid(inside, 0)
    del alive_w
    return 0 if status == 0 else 121


def _be_inside(inner: socket.socket, alive: int, function: Callable[[Channel], str]) -> int:
    """Pid 1 of the new namespace."""
    process.set_parent_death_signal(signal.SIGKILL)
    if _is_closed(alive):  # the keeper died before it could take us along
        return 121
    os.close(alive)
    mounts.make_private("/")
    mounts.mount("proc", "/proc", "proc", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC)
    channel = Channel(inner)
    try:
        outcome = Outcome(value=function(channel))
    except ManorError as error:
        outcome = Outcome(failure=str(error), exit_status=error.exit_status)
    except OSError as error:
        outcome = Outcome(failure=_told(error))
    except Exception as error:
        if os.environ.get("VAGGA_LOG") in ("debug", "trace"):
            import traceback

            traceback.print_exc()
        outcome = Outcome(failure=f"defect in vagga: {type(error).__name__}: {error}", exit_status=120)
    channel.finish(outcome)
    return 0


def _is_closed(fd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _told(error: OSError) -> str:
    names = [str(n) for n in (error.filename, error.filename2) if n]
    text = f"{' -> '.join(names)}: {error.strerror}" if names else str(error.strerror or error)
    if error.errno == 28:  # ENOSPC
        text += "; make room, for instance with `vagga _clean --unused`"
    return text


def _why_no_namespaces(error: OSError) -> str:
    """Which switch of the kernel forbids user namespaces."""
    switches = {
        "kernel.unprivileged_userns_clone": ("/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        "user.max_user_namespaces": ("/proc/sys/user/max_user_namespaces", "0", "15000"),
        "kernel.apparmor_restrict_unprivileged_userns": (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "0",
        ),
    }  # fmt: skip
    for name, (path, forbidding, right) in switches.items():
        with contextlib.suppress(OSError), open(path) as file:
            if file.read().strip() == forbidding:
                return f"user namespaces are forbidden by {name}={forbidding}; as root: sysctl -w {name}={right}"
    return f"user namespaces cannot be made here: {error.strerror}; the host or the container around forbids them"
