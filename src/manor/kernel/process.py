"""What a process may set for itself, and what /proc tells of others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.kernel import syscalls

# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36

NAME_BYTES_MAX: Final = 15  # the kernel keeps 16 bytes with the closing zero and silently cuts the rest


def _prctl(option: int, argument: object) -> None:
    syscalls.check(syscalls.libc.prctl(option, argument, 0, 0, 0))


def set_child_subreaper() -> None:
    """From now on orphans below this process become its children. Kept over exec, not given to children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """The name that ps and /proc/PID/comm show for the calling thread, which of a process is its first."""
    encoded = name.encode()
    if len(encoded) > NAME_BYTES_MAX:
        raise ValueError(f"process name `{name}` is longer than {NAME_BYTES_MAX} bytes")
    _prctl(_PR_SET_NAME, encoded)


def set_parent_death_signal(number: int) -> None:
    """Get this signal when the parent ends. Kept over exec (but not of set-uid programs), not given to children.

    "The parent" is the *thread* that forked us (prctl(2)): a child started from a worker thread gets the signal when
    that thread ends. And a parent that is already gone sends nothing: compare os.getppid() before and after.
    """
    _prctl(_PR_SET_PDEATHSIG, number)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks after boot: with the pid its identity until the next boot.

    Raises ProcessLookupError when there is none. Source: proc_pid_stat(5), field 22.
    """
    return int(_stat_fields(pid)[19])


def state(pid: int) -> str:
    """The one-letter state of proc_pid_stat(5): R, S, D, T (stopped), Z (ended, not reaped) and so on."""
    return _stat_fields(pid)[0]


def parent(pid: int) -> int:
    """The parent's pid; 0 when it is outside of our pid namespace."""
    return int(_stat_fields(pid)[1])


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on: the second is a name that may hold blanks and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    return text[text.rindex(")") + 2 :].split()


def boot_id() -> str:
    """The kernel's random name of the present boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boottime() -> float:
    """Seconds since boot, suspended time included: a clock that does not jump and goes on across exec."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def children(pid: int | None = None) -> list[int]:
    """Pids of the children of all threads of a process, zombies included; empty when there is no such process."""
    tasks = Path(f"/proc/{pid or os.getpid()}/task")
    try:
        threads = os.listdir(tasks)
    except FileNotFoundError:
        return []
    return sorted(child for thread in threads for child in _children_of_thread(tasks / thread))


def _children_of_thread(task: Path) -> list[int]:
    try:
        return [int(word) for word in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
        return []


def descendants(pid: int | None = None) -> Iterator[int]:
    """Pids of all processes below one, parents first. A tree that changes meanwhile may be seen in part."""
    for child in children(pid):
        yield child
        yield from descendants(child)
