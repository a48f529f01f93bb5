"""A container in the foreground: streams or a terminal go in, signals are passed on, its status comes out."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from manor.kernel import pidfds
from manor.lithos.containers.launch import Living
from manor.lithos.endings_seen import wait_status_nowait
from manor.lithos.supervision.endings import Ending

PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
DEADLY: Final = (signal.SIGINT, signal.SIGTERM)
COLLECT_TRIES: Final = 500
COLLECT_POLL_S: Final = 0.01
COPY_BYTES: Final = 65536


def hold_signals() -> None:
    """Before a container is started: what comes now must neither kill us nor get lost, but wait for `wait`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)


@dataclass(frozen=True, slots=True)
class Foreground:
    """A container that runs in front of somebody. terminal: the master end of its terminal."""

    living: Living
    kill_timeout_s: float
    terminal: int | None = None

    async def wait(self) -> tuple[Ending, bool]:
        """How it ended, and whether it had to be killed. Signals are passed on meanwhile."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        kill_timer: list[asyncio.TimerHandle] = []
        killed: list[bool] = []

        def kill() -> None:
            killed.append(True)
            self._send(signal.SIGKILL)

        def pass_on(number: signal.Signals) -> None:
            self._send(number)
            if number in DEADLY and not kill_timer:
                kill_timer.append(loop.call_later(self.kill_timeout_s, kill))

        loop.add_reader(self.living.pidfd, ended.set)
        for number in PASSED_ON:
            loop.add_signal_handler(number, pass_on, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        try:
            with self._terminal_copied(loop):
                await ended.wait()
        finally:
            loop.remove_reader(self.living.pidfd)
            for timer in kill_timer:
                timer.cancel()
        return await self._ending(), bool(killed)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            pidfds.send_signal(self.living.pidfd, number)

    async def _ending(self) -> Ending:
        for _ in range(COLLECT_TRIES):
            status = wait_status_nowait(self.living.pidfd, self.living.record)
            if status is not None:
                return Ending.of_init(status)
            await asyncio.sleep(COLLECT_POLL_S)
        return Ending()

    @contextlib.contextmanager
    def _terminal_copied(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Our terminal in raw mode, its bytes and size passed to the container's and back; all restored afterwards."""
        terminal = self.terminal
        if terminal is None:
            yield
            return
        stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
        before = termios.tcgetattr(stdin)
        copy_window_size(stdin, terminal)
        tty.setraw(stdin)
        loop.add_signal_handler(signal.SIGWINCH, copy_window_size, stdin, terminal)
        loop.add_reader(stdin, _copy, stdin, terminal)
        loop.add_reader(terminal, _copy, terminal, stdout)
        try:
            yield
            while _copy(terminal, stdout):
                pass  # what the container said last
        finally:
            loop.remove_reader(stdin)
            loop.remove_reader(terminal)
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def copy_window_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):  # a terminal without a size
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _copy(source: int, target: int) -> bool:
    """False at the end: a terminal whose other side is closed gives EIO."""
    try:
        content = os.read(source, COPY_BYTES)
        while content:
            content = content[os.write(target, content) :]
            if not content:
                return True
    except OSError:
        pass
    with contextlib.suppress(RuntimeError):  # no loop runs any more
        asyncio.get_running_loop().remove_reader(source)
    return False
