"""The daemon's side of a scheduler's process: start it, give it a round, kill it when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from manor.verwalter.settings import Scheduler as SchedulerSettings
from manor.verwalter.worker.engines import LOG_BYTES_MAX, SchedulerFailed, SchedulerLoadFailed
from manor.verwalter.worker.messages import LENGTH_BYTES, Failed, Load, Loaded, Ran, Run, ToChild, ToDaemon, pack

log = logging.getLogger(__name__)

END_WITHIN_S: Final = 2.0
ANSWERS_BYTES_MAX: Final = 8 * 1024 * 1024

_DECODER: Final = msgspec.json.Decoder(ToDaemon)


class SchedulerRoundFailed(SchedulerFailed):
    """A failed round with the debug log the scheduler left."""

    def __init__(self, error: str, debug_log: str = "") -> None:
        super().__init__(error)
        self.debug_log = debug_log


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class SchedulerWorker:
    """One loaded scheduler. After a failure that killed the process the next run starts it again."""

    def __init__(self, directory: Path, settings: SchedulerSettings) -> None:
        self.directory = directory
        self.loaded: Loaded | None = None
        self._settings = settings
        self._result_bytes_max = settings.max_schedule + LOG_BYTES_MAX + ANSWERS_BYTES_MAX
        self._child: _Child | None = None

    async def load(self) -> Loaded:
        """Start the process. Raises SchedulerLoadFailed."""
        self._child = await self._start()
        settings = self._settings
        order = Load(
            directory=str(self.directory),
            timeout_s=settings.timeout,
            memory_bytes=settings.memory,
            result_bytes_max=self._result_bytes_max,
            user=settings.user,
        )
        try:
            answer = await self._ask(order, settings.load_timeout)
        except SchedulerFailed as error:
            raise SchedulerLoadFailed(f"cannot load {self.directory}: {error}") from error
        if not isinstance(answer, Loaded):
            await self.close()
            raise SchedulerLoadFailed(answer.error if isinstance(answer, Failed) else "cannot load: nonsense")
        self.loaded = answer
        return answer

    async def run(self, input: dict[str, Any]) -> Ran:
        """One round. Raises SchedulerRoundFailed, SchedulerLoadFailed if it had to be started again and could not."""
        if self._child is None or self._child.process.returncode is not None:
            await self.load()
        try:
            answer = await self._ask(Run(input=input), self._settings.timeout)
        except SchedulerFailed as error:
            raise SchedulerRoundFailed(str(error)) from error
        if isinstance(answer, Failed):
            raise SchedulerRoundFailed(answer.error, answer.log)
        assert isinstance(answer, Ran)
        return answer

    async def close(self) -> None:
        """End the process, whatever it does."""
        child, self._child = self._child, None
        if child is None:
            return
        child.writer.close()
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(child.process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                await child.process.wait()

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "manor.verwalter.worker.child",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        return _Child(process, reader, writer)

    async def _ask(self, message: ToChild, timeout_s: float) -> ToDaemon:
        """Raises SchedulerFailed after having killed a process that is late or talks nonsense."""
        child = self._child
        assert child is not None
        try:
            async with asyncio.timeout(timeout_s):
                child.writer.write(pack(message))
                await child.writer.drain()
                size = int.from_bytes(await child.reader.readexactly(LENGTH_BYTES), "big")
                if size > self._result_bytes_max:
                    raise asyncio.IncompleteReadError(b"", size)  # it does not keep to its own limit
                body = await child.reader.readexactly(size)
        except TimeoutError:
            await self.close()
            raise SchedulerFailed(f"scheduler exceeded its limit of {timeout_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise SchedulerFailed(await self._why_it_died(child)) from None
        except asyncio.CancelledError:
            await self.close()
            raise
        answer: ToDaemon = _DECODER.decode(body)
        return answer

    async def _why_it_died(self, child: _Child) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                await child.process.wait()
        await self.close()
        status = child.process.returncode
        if status is None:
            return "scheduler process closed its connection"
        if status < 0:
            return f"scheduler process died with signal {signal.Signals(-status).name}"
        return f"scheduler process died with status {status}"
