"""How a process ended, in words, and whether that counts as a failure (a table)."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

INIT_SIGNAL_CODES: Final = range(129, 193)  # manor-init exits with 128+N when signal N killed the main process


@dataclass(frozen=True, slots=True)
class Ending:
    """Exactly one of code and signal, or none of them: nobody could tell."""

    code: int | None = None
    signal: int | None = None
    core_dumped: bool = False

    @classmethod
    def of_init(cls, wait_status: int | None) -> Ending:
        """From the wait status of the container's init."""
        if wait_status is None:
            return cls()
        if os.WIFSIGNALED(wait_status):
            return cls(signal=os.WTERMSIG(wait_status), core_dumped=os.WCOREDUMP(wait_status))
        code = os.WEXITSTATUS(wait_status)
        if code in INIT_SIGNAL_CODES:
            return cls(code=code, signal=code - 128)
        return cls(code=code)

    def __str__(self) -> str:
        if self.signal is not None:
            dumped = " (core dumped)" if self.core_dumped else ""
            return f"killed by signal {_signal_name(self.signal)}[{self.signal}]{dumped}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "ended with unknown status"


def counts_as_failure(
    ending: Ending,
    *,
    normal_exit_codes: Collection[int],
    stop_sent: bool,
    had_to_be_killed: bool,
    stopped_as_unwell: bool,
) -> bool:
    """The first line that fits decides."""
    if stopped_as_unwell or had_to_be_killed:
        return True
    if ending.code is not None and ending.code in normal_exit_codes:
        return False
    return not (stop_sent or ending.signal == signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"SIG{number}"
