"""Tests that mount or make links do it in a forked child with namespaces of its own, which vanish with it."""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

from manor.kernel import mounts, namespaces

T = TypeVar("T")


def in_own_namespaces(function: Callable[[], T], flags: int = namespaces.NEWNS) -> T:
    """What `function` returns, or its exception as an AssertionError with the traceback."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.unshare(flags)
            if flags & namespaces.NEWNS:
                mounts.make_private("/")
            answer = (True, function())
        except BaseException:
            answer = (False, traceback.format_exc())
        with open(write_end, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as file:
        done, value = pickle.load(file)
    os.waitpid(pid, 0)
    assert done, value
    return value


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
