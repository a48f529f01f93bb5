"""Files and directories that appear whole or not at all, and the names of what is unfinished."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TMP: Final = ".tmp."


def temporary(final: Path) -> Path:
    """The name, in the same directory, that something has until it is finished. Ends with the pid of its maker."""
    return final.parent / f"{TMP}{final.name}.{host_pid()}"


def maker_is_gone(temporary_name: str) -> bool:
    """Has the process ended that a temporary name ends with? Names without a pid count as orphaned."""
    pid = temporary_name.rpartition(".")[2]
    return not pid.isdigit() or not Path(f"/proc/{pid}").exists()


_own_pid: int | None = None


def remember_pid() -> None:
    """Called before moving to a new pid namespace, where os.getpid() tells others nothing."""
    global _own_pid
    _own_pid = os.getpid()


def host_pid() -> int:
    return _own_pid or os.getpid()


def write_atomic(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Replace a file in one moment; readers see the old content or the new."""
    name = temporary(path)
    data = content.encode() if isinstance(content, str) else content
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(name, path)


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[int]:
    """Hold an flock on a file, made if missing. BlockingIOError when somebody else has it and `wait` is false."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield fd
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Delete a file or a tree, links not followed, whatever modes its directories have; missing is fine."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return

    import shutil

    def make_writable(function: object, name: str, error: object) -> None:
        parent = os.path.dirname(name)
        os.chmod(parent, 0o700)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, 0o700)
            shutil.rmtree(name)
        else:
            os.unlink(name)

    shutil.rmtree(path, onerror=make_writable)
