"""A terminal of the command's own, relayed: what is typed goes to it, what it shows comes out, its size follows ours.

While it lasts our terminal is in raw mode, so Ctrl-C and Ctrl-Z are bytes that only the inner terminal acts upon: an
interactive shell inside has job control, and nothing outside is interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import tty
from typing import Final, Protocol

READ_BYTES: Final = 65536
END_OF_INPUT: Final = b"\x04"


class Source(Protocol):
    """What ends the relaying when it becomes readable."""

    def fileno(self) -> int: ...


def size_of(fd: int) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def set_size(fd: int, size: tuple[int, int]) -> None:
    """The kernel tells the foreground group by SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


class Relay:
    """Between our terminal and the command's.

    Args:
        master: the other end of the command's terminal.
        stdin, stdout: ours.
    """

    def __init__(self, master: int, stdin: int, stdout: int) -> None:
        self._master = master
        self._stdin = stdin
        self._stdout = stdout
        self._input_open = True
        self._before: list[object] | None = None
        self.take()

    def take(self) -> None:
        """Put our terminal into raw mode, and give the inner one its size."""
        if os.isatty(self._stdin):
            self._before = termios.tcgetattr(self._stdin)
            tty.setraw(self._stdin, termios.TCSADRAIN)
        self.resize()

    def give_back(self) -> None:
        """Put our terminal into the mode it had."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._stdin, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
            self._before = None

    def resize(self) -> None:
        """Our size has changed."""
        with contextlib.suppress(OSError):
            set_size(self._master, size_of(self._stdout))

    def until(self, source: Source) -> None:
        """Relay until there is something to read from `source`."""
        while True:
            poll = select.poll()
            poll.register(source.fileno(), select.POLLIN)
            poll.register(self._master, select.POLLIN)
            if self._input_open:
                poll.register(self._stdin, select.POLLIN)
            ready = dict(poll.poll())
            if self._stdin in ready:
                self._pass_input()
            if ready.get(self._master, 0) & select.POLLIN:
                self._pass_output()
            elif self._master in ready and source.fileno() not in ready:
                _wait_for(source)  # nobody inside has the terminal open: what is left to come is the end
                return
            if source.fileno() in ready:
                return

    def drain(self) -> None:
        """What was shown last."""
        with contextlib.suppress(OSError):
            os.set_blocking(self._master, False)
            while self._pass_output():
                pass

    def close(self) -> None:
        self.give_back()
        os.close(self._master)

    def _pass_input(self) -> None:
        data = os.read(self._stdin, READ_BYTES)
        self._input_open = bool(data)
        _write_all(self._master, data or END_OF_INPUT)

    def _pass_output(self) -> bool:
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EAGAIN):  # EIO: the last one inside has closed it
                return False
            raise
        _write_all(self._stdout, data)
        return bool(data)


def _wait_for(source: Source) -> None:
    poll = select.poll()
    poll.register(source.fileno(), select.POLLIN)
    poll.poll()


def _write_all(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the other side has gone: the end comes by the way of the process
        while data:
            data = data[os.write(fd, data) :]
