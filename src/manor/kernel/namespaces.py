"""Entering and leaving namespaces. What the kernel counts per thread is done in a thread that ends afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from manor.kernel import mounts, syscalls

T = TypeVar("T")

# linux/sched.h
NEWNS: Final = 0x0002_0000
NEWCGROUP: Final = 0x0200_0000
NEWUTS: Final = 0x0400_0000
NEWIPC: Final = 0x0800_0000
NEWUSER: Final = 0x1000_0000
NEWPID: Final = 0x2000_0000
NEWNET: Final = 0x4000_0000


def enter(namespace: int | str | Path, flags: int = 0) -> None:
    """Join a namespace, given by its file (/proc/PID/ns/KIND), a descriptor of it, or a pidfd with flags.

    Holds for the calling thread only; a pid namespace holds for its children. A user namespace, and a mount
    namespace, can be joined only by a process of one thread.
    """
    if isinstance(namespace, int):
        syscalls.check(syscalls.libc.setns(namespace, flags))
        return
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.check(syscalls.libc.setns(fd, flags), namespace)
    finally:
        os.close(fd)


def unshare(flags: int) -> None:
    """Move into new namespaces: the calling thread only; a new pid namespace begins with its next child."""
    syscalls.check(syscalls.libc.unshare(flags))


def in_network_namespace(namespace: int | str | Path, function: Callable[[], T]) -> T:
    """Call `function` in a thread that has joined a network namespace; sockets made there stay there.

    What reads /proc/sys/net sees that namespace's values. Exceptions come back to the caller.
    """

    def inside() -> T:
        enter(namespace, NEWNET)
        return function()

    return _in_own_thread(inside)


def create_network_namespace(path: Path) -> None:
    """Make a network namespace and bind it to the new file `path` (mode 0400), which keeps it in being."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o400))

    def make() -> None:
        unshare(NEWNET)
        mounts.bind(Path("/proc/thread-self/ns/net"), path, recursive=False)

    try:
        _in_own_thread(make)
    except BaseException:
        path.unlink()
        raise


def remove_network_namespace(path: Path) -> None:
    """Undo create_network_namespace, whatever of it there is; the namespace goes when its last process has ended."""
    if not path.exists():
        return
    if mounts.is_mount_point(path):
        mounts.unmount(path, lazy=True)
    path.unlink()


def _in_own_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
