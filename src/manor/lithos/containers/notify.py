"""The sockets that containers tell of their readiness, by systemd's convention: datagrams such as `READY=1`.

One socket per container, below RUNTIME_DIR/notify, bound over /dev/.lithos-notify inside. Over an in-place restart the
sockets are inherited; the last part of a socket's own name tells whose it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from manor.lithos.supervision.messages import Notice

MESSAGE_BYTES_MAX: Final = 4096
MESSAGES_AT_ONCE: Final = 64  # of one socket before others get their turn

_NOTICES: Final = {notice.value: notice for notice in Notice}


class NotifySockets:
    """Open sockets by container id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sockets: dict[str, socket.socket] = {}

    def open(self, container_id: str) -> Path:
        """A new socket; the path to be mounted. Raises OSError."""
        self.close(container_id)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By a short name: the address of a Unix socket has room for 107 bytes, a runtime-dir may be longer.
            made.bind(f"/proc/self/fd/{directory}/{container_id}")
        except OSError:
            made.close()
            raise
        finally:
            os.close(directory)
        self.path(container_id).chmod(0o666)  # the directory keeps everybody else out; inside it is for any user
        self._sockets[container_id] = made
        return self.path(container_id)

    def path(self, container_id: str) -> Path:
        return self._directory / container_id

    def descriptor(self, container_id: str) -> int | None:
        held = self._sockets.get(container_id)
        return None if held is None else held.fileno()

    def receive_nowait(self, container_id: str) -> list[Notice]:
        """What a container has said since."""
        notices: list[Notice] = []
        held = self._sockets.get(container_id)
        if held is None:
            return notices
        for _ in range(MESSAGES_AT_ONCE):
            try:
                message = held.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                break
            notices += parse_notices(message)
        return notices

    def close(self, container_id: str) -> None:
        held = self._sockets.pop(container_id, None)
        if held is not None:
            held.close()
        with contextlib.suppress(FileNotFoundError):
            self.path(container_id).unlink()

    def let_inherit(self) -> None:
        for held in self._sockets.values():
            held.set_inheritable(True)

    def find_inherited(self) -> list[str]:
        """The containers whose sockets this process was born with."""
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            container_id = _name_of(fd) if fd > 2 else None
            if container_id is not None and self.path(container_id).exists():
                held = self._sockets[container_id] = socket.socket(fileno=fd)
                held.set_inheritable(False)
        return sorted(self._sockets)


def parse_notices(message: bytes) -> list[Notice]:
    """One assignment a line; what is not known is passed over, as systemd does."""
    lines = message.decode(errors="replace").splitlines()
    return [_NOTICES[line] for line in lines if line in _NOTICES]


def _name_of(fd: int) -> str | None:
    try:
        with contextlib.closing(socket.socket(fileno=os.dup(fd))) as found:
            if found.family != socket.AF_UNIX or found.type != socket.SOCK_DGRAM:
                return None
            name = found.getsockname()
    except OSError:
        return None  # no socket
    if not isinstance(name, str) or not name.startswith("/proc/self/fd/"):
        return None
    return name.rpartition("/")[2]
