"""The signals that mean something to a master, held back whenever no loop is there to take them."""

from __future__ import annotations

import signal
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
RESTART_SIGNALS: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def block_signals() -> None:
    """What comes from here on waits, also over an execution: it neither kills nor gets lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, *RESTART_SIGNALS))


def unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, *RESTART_SIGNALS))
