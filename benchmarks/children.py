"""The programs a benchmark starts, ours and the peers', and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0


def ours(name: str) -> str:
    """One of manor's commands, of the environment that runs the benchmark."""
    return str(Path(sys.executable).with_name(name))


def run(
    words: Sequence[str | Path], *, cwd: Path | None = None, environ: Mapping[str, str] = {}, input: bytes = b""
) -> bytes:
    """To its end, which must be good; its standard output."""
    result = subprocess.run(
        words, cwd=cwd, env={**os.environ, **environ}, input=input, capture_output=True, timeout=PATIENCE_S
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: status {result.returncode}: {result.stderr.decode()}")
    return result.stdout


@contextlib.contextmanager
def running(
    words: Sequence[str | Path], *, log: Path, environ: Mapping[str, str] = {}, ended_by: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """In the background; asked to end when the block ends, and killed if it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.send_signal(ended_by)
        try:
            process.wait(PATIENCE_S / 4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], T], what: str, *, within_s: float = PATIENCE_S, every_s: float = 0.01) -> T:
    """The first true answer. Raises TimeoutError."""
    until = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
    return answer
