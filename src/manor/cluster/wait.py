"""Wait on a condition with a deadline; never a sleep for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from manor.config.errors import ManorError

POLL_S = 0.1
T = TypeVar("T")


class TookTooLong(ManorError):
    """a new leader: not within 30 s; the last try said: no leader"""


def wait_until(what: str, condition: Callable[[], T | bool | None], *, within_s: float) -> tuple[T, float]:
    """Poll until the condition gives something true; errors it expects (ManorError, OSError) count as not yet.

    Returns:
        what the condition gave, and the seconds it took.
    """
    began = time.monotonic()
    last = "nothing"
    while True:
        try:
            result = condition()
        except (ManorError, OSError, ValueError, KeyError) as error:
            result, last = None, str(error) or type(error).__name__
        took_s = time.monotonic() - began
        if result is not None and result is not False:
            return result, took_s  # type: ignore[return-value]
        if took_s > within_s:
            raise TookTooLong(f"{what}: not within {within_s:.0f} s; the last try said: {last}")
        time.sleep(POLL_S)
