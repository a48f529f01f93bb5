"""The process around a scheduler: `python -I -m manor.verwalter.worker.child FD`. Loads, gives up its rights, runs.

The files are read with the daemon's rights, before the process becomes `nobody` without network, new privileges, core
files, files it could write, and more memory or time than the settings allow.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Final

import msgspec

from manor.kernel import namespaces, process, syscalls
from manor.verwalter.worker.engines import Run, Scheduler, SchedulerFailed, SchedulerLoadFailed, checked, load
from manor.verwalter.worker.messages import LENGTH_BYTES, Failed, Load, Loaded, Ran, ToChild, ToDaemon, pack
from manor.verwalter.worker.messages import Run as RunMessage

_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
OPEN_FILES_MAX: Final = 32

_DECODER: Final[msgspec.json.Decoder[ToChild]] = msgspec.json.Decoder(ToChild)


def main() -> int:
    channel = socket.socket(fileno=int(sys.argv[1]))
    order = receive(channel)
    assert isinstance(order, Load)
    try:
        scheduler = load(Path(order.directory))
        give_up_rights(order)
    except (SchedulerLoadFailed, OSError, KeyError) as error:
        send(channel, Failed(error=str(error)), order)
        return 1
    send(channel, Loaded(engine=scheduler.engine, hash=scheduler.hash, warnings=scheduler.warnings), order)
    serve(channel, scheduler, order)
    return 0


def serve(channel: socket.socket, scheduler: Scheduler, order: Load) -> None:
    """One answer for each run, until the daemon closes its end."""
    while (message := receive(channel)) is not None:
        assert isinstance(message, RunMessage)
        allow_time(order.timeout_s)
        send(channel, run_once(scheduler.run, message), order)


def run_once(run: Run, message: RunMessage) -> ToDaemon:
    try:
        schedule, log, answers = checked(run(message.input))
    except SchedulerFailed as error:
        return Failed(error=str(error))
    except MemoryError:
        return Failed(error="scheduler exceeded its limit of memory")
    except Exception as error:
        text = traceback.format_exc()
        return Failed(error=f"scheduler raised: {type(error).__name__}: {error}", log=text)
    return Ran(schedule=schedule, log=log, answers=answers)


def give_up_rights(order: Load) -> None:
    """Raises KeyError for a user that does not exist, OSError where the kernel refuses."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(order.user)
        namespaces.unshare(namespaces.NEWNET)  # an empty one: not even loopback is up
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    syscalls.check(syscalls.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    process.set_parent_death_signal(signal.SIGKILL)  # last: a change of user takes it away
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, 2 * order.memory_bytes),  # half of it is the interpreter's and its libraries'
    ):
        resource.setrlimit(kind, (most, most))


def allow_time(timeout_s: float) -> None:
    """The limit of CPU time counts from the start of the process, so it is moved along with every run."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + timeout_s) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def receive(channel: socket.socket) -> ToChild | None:
    header = read_exactly(channel, LENGTH_BYTES)
    if header is None:
        return None
    body = read_exactly(channel, int.from_bytes(header, "big"))
    return None if body is None else _DECODER.decode(body)


def read_exactly(channel: socket.socket, size: int) -> bytes | None:
    """None when the other side closed."""
    content = bytearray()
    while len(content) < size:
        piece = channel.recv(min(size - len(content), 1 << 20))
        if not piece:
            return None
        content += piece
    return bytes(content)


def send(channel: socket.socket, message: ToDaemon, order: Load) -> None:
    try:
        packed = pack(message)
    except (TypeError, ValueError, RecursionError) as error:
        packed = pack(Failed(error=f"scheduler returned an invalid value: {error}"))
    if len(packed) > order.result_bytes_max:
        limit = f"{order.result_bytes_max // 1024**2} MiB"
        packed = pack(Failed(error=f"scheduler exceeded its limit of {limit} for a schedule"))
    channel.sendall(packed)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
