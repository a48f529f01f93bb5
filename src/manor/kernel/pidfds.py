"""Processes held by descriptor: a pidfd never comes to mean another process, as a pid does when it is used again.

A pidfd is readable once its process has ended. Whoever is the parent collects the status with waitid; everybody else
can ask the pidfd itself since Linux 6.15, if it was opened while the process lived.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import time
from typing import Final

from manor.kernel import syscalls

COLLECT_WITHIN_S: Final = 5.0  # how long a process that has ended may stay with a parent that is itself about to end
COLLECT_EVERY_S: Final = 0.01

# linux/pidfd.h: PIDFD_GET_INFO is _IOWR(0xff, 11, struct pidfd_info) with the structure's first version, 64 bytes.
_GET_INFO: Final = 0xC040FF0B
_INFO_EXIT: Final = 1 << 3


class _PidfdInfo(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint64),
        ("cgroup_id", ctypes.c_uint64),
        ("ids", ctypes.c_uint32 * 11),  # pid, tgid, ppid, then the user and group ids
        ("exit_code", ctypes.c_int32),
    )


def open_pidfd(pid: int) -> int:
    """A close-on-exec descriptor of a living process or one not yet reaped; ProcessLookupError when there is none."""
    return os.pidfd_open(pid)


def send_signal(pidfd: int, number: int) -> None:
    """Signal exactly this process; ProcessLookupError once it has been reaped."""
    signal.pidfd_send_signal(pidfd, number)


def get_fd(pidfd: int, fd: int) -> int:
    """A close-on-exec duplicate of another process's descriptor. Needs the right to trace that process."""
    return syscalls.syscall(syscalls.PIDFD_GETFD, pidfd, fd, 0)


def wait_readable(pidfd: int, timeout_s: float | None = None) -> bool:
    """Wait until the process has ended; False when `timeout_s` passed first."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))))


def exit_status(pidfd: int) -> int | None:
    """The wait status (as of os.waitpid) of a process that has ended and been reaped, by whomever.

    None while it lives or waits for its parent, and always on kernels before 6.15.
    """
    info = _PidfdInfo(mask=_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EINVAL, errno.ESRCH, errno.EREMOTE}:
            return None  # an older kernel, or the process ended before it could be asked
        raise
    return int(info.exit_code) if info.mask & _INFO_EXIT else None


def reap(pidfd: int) -> int | None:
    """Collect our own child: its wait status, None while it lives; ChildProcessError when it is not our child."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return result.si_status << 8
    return result.si_status | (0x80 if result.si_code == os.CLD_DUMPED else 0)


def collect(pidfd: int, within_s: float = COLLECT_WITHIN_S) -> int | None:
    """The wait status of a process that has ended, child or not; None if nobody can tell any more.

    A container's first process may end while it is still the child of the runtime that starts it. It then either
    becomes our child a moment later or is reaped by the runtime, so both ways are tried until `within_s` has passed.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            status = reap(pidfd)
        except ChildProcessError:
            status = exit_status(pidfd)
        if status is not None or time.monotonic() >= deadline:
            return status
        time.sleep(COLLECT_EVERY_S)
