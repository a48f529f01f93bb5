"""The terminal of a container with `terminal: true`: the runtime makes it and sends us its master end.

Source: runc's docs/terminals.md (detached, new terminal): one message over a Unix socket, the descriptor as SCM_RIGHTS.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

RECEIVE_TIMEOUT_S: Final = 10.0
_NAME_BYTES_MAX: Final = 4096  # the message itself is the name of the terminal


class ConsoleSocket:
    """Listen before the runtime is called, receive after it has returned.

        with ConsoleSocket(directory / "console") as console:
            pid = runtime.run_detached(..., console_socket=console.path)
            terminal = console.receive()

    The path is at most 107 bytes long: the runtime connects to it by that name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            self._socket.listen(1)
        except BaseException:
            self._socket.close()
            raise

    def receive(self, timeout_s: float = RECEIVE_TIMEOUT_S) -> int:
        """The terminal's master end, close-on-exec; raises TimeoutError when none comes."""
        self._socket.settimeout(timeout_s)
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(timeout_s)
            _name, fds, _flags, _address = socket.recv_fds(connection, _NAME_BYTES_MAX, 1)
        if not fds:
            raise ConnectionError("the runtime closed its console socket without sending a terminal")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
