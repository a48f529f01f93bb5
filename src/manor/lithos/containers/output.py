"""Where the output of a process goes, and the lines lithos puts beside it."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manor.kernel.inside import open_beneath_no_symlinks
from manor.lithos.files.record import Output
from manor.lithos.files.volumes import Persistent, Statedir, normal
from manor.lithos.rules.settle import Instance
from manor.lithos.rules.volumes import volume_above

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK


def output_of(instance: Instance, stdio_log: Path, state_dir: Path) -> Output:
    """`stdout-stderr-file` if it is on a volume that can hold it, else the log of the sandbox."""
    wanted = instance.container.stdout_stderr_file
    if wanted is not None:
        above = volume_above(instance.volumes, normal(wanted))
        if above is not None:
            inner = normal(wanted).removeprefix(above.mount_point).strip("/")
            if isinstance(above.volume, Persistent) and above.host is not None:
                beneath = "/".join(part for part in (above.host.beneath, inner) if part)
                return Output(base=above.host.base, beneath=beneath)
            if isinstance(above.volume, Statedir):
                return Output(base=str(state_dir), beneath=f"{above.volume.path.strip('/')}/{inner}".strip("/"))
    return Output(base=str(stdio_log), beneath=f"{instance.name.sandbox}.log")


def open_output(output: Output) -> int:
    """Open for append. A link or FIFO that a process planted in its volume is refused, not followed nor waited for."""
    fd = open_beneath_no_symlinks(output.base, output.beneath, _APPEND, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", f"{output.base}/{output.beneath}")
    os.set_blocking(fd, True)
    return fd


def write_line(output: Output, text: str) -> None:
    """One line with the time, in a single write. Raises OSError."""
    fd = open_output(output)
    try:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(fd, f"{stamp}: {text}\n".encode(errors="backslashreplace"))
    finally:
        os.close(fd)


def start_line(name: str, command: Sequence[str]) -> str:
    words = " ".join(json.dumps(word, ensure_ascii=False) for word in command)
    return f'----- Starting "{name}": {words} -----'
