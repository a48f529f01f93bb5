"""Descriptors on their way through a runtime into a container, and what runtimes do to them.

With `--preserve-fds N` a runtime passes its own descriptors 3 to N+2 on, whatever they are: a number we leave free may
be its log or an epoll descriptor. So every number up to the highest is occupied, and manor-init closes the fillings.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

FIRST_PASSED: Final = 3

log = logging.getLogger(__name__)


def closed_gaps(fds: Mapping[int, int]) -> list[int]:
    """The numbers between 3 and the highest target that nobody asked for: what manor-init has to close."""
    if any(target < FIRST_PASSED for target in fds):
        raise ValueError("descriptors below 3 are stdio and have their own arguments")
    return [number for number in range(FIRST_PASSED, max(fds, default=0)) if number not in fds]


def closed_pipe() -> int:
    """An empty stream: the read end (close-on-exec) of a pipe that nobody writes to.

    The host's /dev/null will not do as a container's stdin: a runtime gives stdio to the container's user, and with
    crun and a user namespace that changes the owner of /dev/null itself.
    """
    read_end, write_end = os.pipe()
    os.close(write_end)
    return read_end


@contextlib.contextmanager
def placed(fds: Mapping[int, int], stdio: Sequence[int | None]) -> Iterator[list[tuple[int, ...]]]:
    """File actions for os.posix_spawn that put every descriptor at its target, stdio at 0 to 2 (None: closed there).

    The sources are first duplicated above all targets, so that no one is overwritten before it was copied.
    """
    above = max(fds, default=0) + FIRST_PASSED
    opened: list[int] = []
    actions: list[tuple[int, ...]] = []
    try:
        targets: dict[int, int | None] = {**dict(enumerate(stdio)), **fds}
        for target, source in targets.items():
            if source is None:
                actions.append((os.POSIX_SPAWN_CLOSE, target))
            else:
                opened.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, above))
                actions.append((os.POSIX_SPAWN_DUP2, opened[-1], target))
        if gaps := closed_gaps(fds):
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            opened.append(fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, above))
            os.close(null)
            actions += [(os.POSIX_SPAWN_DUP2, opened[-1], gap) for gap in gaps]
        yield actions
    finally:
        for fd in opened:
            os.close(fd)


@contextlib.contextmanager
def kept_owners(stdio: Sequence[int | None]) -> Iterator[None]:
    """Put back owner and mode of files and devices: a runtime gives stdio to the container's user.

    Pipes and sockets are left to the container, which may want to open them again as /dev/stdout.
    """
    before = {fd: os.fstat(fd) for fd in stdio if fd is not None}
    try:
        yield
    finally:
        for fd, was in before.items():
            if stat.S_ISREG(was.st_mode) or stat.S_ISCHR(was.st_mode):
                _restore(fd, was)


def _restore(fd: int, was: os.stat_result) -> None:
    now = os.fstat(fd)
    try:
        if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
            os.fchown(fd, was.st_uid, was.st_gid)
        if os.fstat(fd).st_mode != was.st_mode:
            os.fchmod(fd, stat.S_IMODE(was.st_mode))
    except OSError as error:  # the container runs, and does so rightly: no reason to fail its start
        log.warning("stdio.owner_not_restored fd=%d error=%s", fd, error.strerror)
