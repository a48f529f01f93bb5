"""The way of the bytes by rsync: its command line, its progress, its failures. Delivered files have modes and times of
their own, so it may only compare contents: with `-a` nothing would ever be shared by `--link-dest`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_RSH: Final = "ssh"
DEFAULT_USER: Final = "verwalter"
SILENCE_S: Final = 60  # no byte for this long: the connection is dead
ERROR_CHARACTERS_MAX: Final = 500

_PERCENT: Final = re.compile(rb"\b(\d{1,3})%")


@dataclass(frozen=True, slots=True)
class Transport:
    """How to reach nodes."""

    rsh: str = DEFAULT_RSH  # a command as rsync's `-e` takes it
    user: str = DEFAULT_USER
    options: tuple[str, ...] = ()  # of ssh
    bytes_per_second: int | None = None

    @property
    def remote_shell(self) -> str:
        return " ".join([self.rsh, *(f"-o {shlex.quote(option)}" for option in self.options)])


def command(
    image: Path, host: str, staging: str, *, link_dest: str | None, transport: Transport, rsh: str | None = None
) -> list[str]:
    """The whole command line; `rsh` replaces the transport's remote shell."""
    words = ["rsync", "-rl", "--checksum", "--executability", "--delete", "--partial"]
    words += ["--info=progress2", "--no-inc-recursive", f"--timeout={SILENCE_S}"]
    if link_dest is not None:
        words.append(f"--link-dest={link_dest}")
    if transport.bytes_per_second is not None:
        words.append(f"--bwlimit={max(1, transport.bytes_per_second // 1024)}")
    words += ["-e", rsh or transport.remote_shell, "--", f"{os.fspath(image)}/"]
    at_host = f"[{host}]" if ":" in host else host
    words.append(f"{transport.user}@{at_host}:{staging}/")
    return words


class RsyncFailed(Exception):
    """What rsync said last."""


def run(
    words: Sequence[str],
    *,
    on_percent: Callable[[int], None],
    on_start: Callable[[subprocess.Popen[bytes]], None],
    pass_fds: Sequence[int] = (),
) -> None:
    """Run it to its end; raises RsyncFailed."""
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment, pass_fds=pass_fds
    ) as process:
        on_start(process)
        assert process.stdout is not None and process.stderr is not None
        percent = -1
        while piece := os.read(process.stdout.fileno(), 4096):
            found = _PERCENT.findall(piece)
            if found and int(found[-1]) != percent:
                percent = int(found[-1])
                on_percent(percent)
        said = process.stderr.read(1024 * 1024).decode(errors="replace").strip()
        status = process.wait()
    if status != 0:
        lines = [line for line in said.splitlines() if line.strip()] or [f"rsync: exit status {status}"]
        raise RsyncFailed("; ".join(lines)[-ERROR_CHARACTERS_MAX:])
