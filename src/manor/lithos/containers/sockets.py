"""The listening sockets that containers share, by address. They live in the master and outlive every container.

A container gets a duplicate. The master closes a socket as soon as nothing that runs, and no upgrade under way, needs
it: a service that only waits to be restarted refuses connections rather than letting them hang.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from manor.kernel import cgroups, pidfds, syscalls
from manor.lithos.errors import StartRefused
from manor.lithos.files.record import Record
from manor.lithos.rules.ports import Address, Port

FIRST_INHERITED: Final = 3


class SharedSockets:
    """Open listening sockets by address."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}

    def get(self, port: Port, owner: tuple[int, int]) -> socket.socket:
        """The socket of an address, opened if nobody has it yet. Raises StartRefused."""
        held = self._sockets.get(port.address)
        if held is None:
            held = self._sockets[port.address] = open_listening(port, owner)
        return held

    def close_unused(self, used: Collection[Address]) -> list[Address]:
        """Close all that are not in use; tells which."""
        unused = sorted(address for address in self._sockets if address not in used)
        for address in unused:
            self._sockets.pop(address).close()
        return unused

    def let_inherit(self) -> None:
        """Just before this process executes itself."""
        for held in self._sockets.values():
            held.set_inheritable(True)

    def find_inherited(self) -> list[Address]:
        """Listening sockets this process was born with; duplicates of one address are closed."""
        return [self._keep(found) for found in _inherited_listening()]

    def recover(self, record: Record, skip: Collection[Address] = ()) -> list[Address]:
        """Take the sockets of a living container back from it, after a crash of the master; what could be had."""
        recovered = []
        for text, fd in record.ports.items():
            address = Address.parse(text)
            if address in self._sockets or address in skip:
                continue
            for found in _listening_of_container(record, fd):
                if address_of(found) == address:
                    recovered.append(self._keep(found))
                    break
                found.close()
        return recovered

    def _keep(self, found: socket.socket) -> Address:
        address = address_of(found)
        found.set_inheritable(False)
        if address in self._sockets:
            found.close()
        else:
            self._sockets[address] = found
        return address


def open_listening(port: Port, owner: tuple[int, int]) -> socket.socket:
    """A close-on-exec listening socket made with the file-system ids `owner` (uid, gid). Raises StartRefused."""
    family = socket.AF_INET6 if ":" in port.address.host else socket.AF_INET
    try:
        with _file_system_ids(owner):
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, port.reuse_addr)
            if port.reuse_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # `::` must not take 0.0.0.0 as well
            made.bind((port.address.host, port.address.port))
            made.listen(port.backlog)
            made.setblocking(not port.non_block)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise StartRefused(f"`tcp-ports`: cannot listen at {port.address}: {error.strerror}") from error
    return made


@contextlib.contextmanager
def _file_system_ids(owner: tuple[int, int]) -> Iterator[None]:
    """Of the calling thread: what the kernel notes as the owner of a new socket, seen in `ss` and /proc/net/tcp."""
    uid, gid = owner
    earlier_gid = syscalls.libc.setfsgid(ctypes.c_uint(gid))
    earlier_uid = syscalls.libc.setfsuid(ctypes.c_uint(uid))
    try:
        yield
    finally:
        syscalls.libc.setfsuid(ctypes.c_uint(earlier_uid))
        syscalls.libc.setfsgid(ctypes.c_uint(earlier_gid))


def address_of(found: socket.socket) -> Address:
    host, port = found.getsockname()[:2]
    return Address(host, port)


def _inherited_listening() -> Iterator[socket.socket]:
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        found = listening(int(name)) if int(name) >= FIRST_INHERITED else None
        if found is not None:
            yield found


def listening(fd: int) -> socket.socket | None:
    """The descriptor as a socket if it is a listening TCP one; else it is left as it is."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        is_tcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
        if is_tcp and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return found
    except OSError:
        pass  # no socket that could be listening
    found.detach()
    return None


def _listening_of_container(record: Record, fd: int) -> Iterator[socket.socket]:
    """First the descriptor the main process was given, then every socket of every process of the container."""
    if record.main_pid is not None:
        yield from _taken(record.main_pid, [fd])
    for pid in cgroups.processes(record.cgroup) if record.cgroup else ():
        yield from _taken(pid, _socket_fds(pid))


def _socket_fds(pid: int) -> list[int]:
    directory = f"/proc/{pid}/fd"
    try:
        return [int(name) for name in os.listdir(directory) if os.readlink(f"{directory}/{name}").startswith("socket:")]
    except OSError:
        return []  # it ended, or closed one meanwhile


def _taken(pid: int, fds: Iterable[int]) -> Iterator[socket.socket]:
    try:
        pidfd = pidfds.open_pidfd(pid)
    except OSError:
        return
    try:
        for fd in fds:
            try:
                duplicate = pidfds.get_fd(pidfd, fd)
            except OSError:
                continue  # closed there meanwhile
            found = listening(duplicate)
            if found is None:
                os.close(duplicate)
            else:
                yield found
    finally:
        os.close(pidfd)
