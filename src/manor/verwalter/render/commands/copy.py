"""`!Copy`: put a rendered file in its place, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from manor.config.units import Mode
from manor.verwalter.render.errors import CommandFailed
from manor.verwalter.render.limits import Limits
from manor.verwalter.render.names import expand
from manor.verwalter.render.task import Task

DEFAULT_MODE = 0o644


class Copy(msgspec.Struct, frozen=True, kw_only=True, tag="Copy"):
    """`!Copy {src, dest, mode}`. A reader of `dest` sees the old or the new file, never a mixture."""

    src: str = "{{ tmp_file }}"
    dest: str | None = None
    target: str | None = None  # an older name of `dest`
    mode: Mode = DEFAULT_MODE

    def __post_init__(self) -> None:
        if (self.dest is None) == (self.target is None):
            raise ValueError("`dest` is required, once; write where the file goes")

    @property
    def destination(self) -> str:
        return self.dest or self.target or ""

    def texts(self) -> Iterable[str]:
        return (self.src, self.destination)

    def directories(self) -> Iterable[str]:
        return ()

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        dest = expand(self.destination, names)
        *above, name = dest.split("/")
        if not above or above[0]:
            return f"`dest: {dest}` is relative; a path from the root, beginning with `/`, would be right"
        if name in ("", "."):
            return f"`dest: {dest}` has no file name; write the whole path"
        if ".." in (*above, name):
            return f"`dest: {dest}` goes up by `..`; write it without"
        return limits.path_refusal(dest)

    def execute(self, task: Task) -> None:
        source, dest = Path(expand(self.src, task.names)), Path(expand(self.destination, task.names))
        task.announce("Copy", f"{{src: {source}, dest: {dest}, mode: {self.mode:04o}}}")
        if task.dry_run:
            return
        try:
            content = source.read_bytes()
            if _stands_already(dest, content, self.mode):
                task.say("unchanged")
                return
            _replace(dest, content, self.mode)
        except OSError as error:
            raise CommandFailed(f"`!Copy` to {dest}: {_told(error)}") from error


def _stands_already(dest: Path, content: bytes, mode: int) -> bool:
    try:
        facts = dest.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(facts.st_mode) and stat.S_IMODE(facts.st_mode) == mode and dest.read_bytes() == content


def _replace(dest: Path, content: bytes, mode: int) -> None:
    if dest.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory; name the file in it")
    if not dest.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the directory it goes to is missing")
    unfinished = dest.with_name(f".tmp.{dest.name}")
    with contextlib.suppress(FileNotFoundError):  # what a killed renderer left
        unfinished.unlink()
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        unfinished.rename(dest)
    except BaseException:  # such as a full disk, or being told to end
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _told(error: OSError) -> str:
    """The kernel's word, and the file where it is not the destination itself."""
    return f"{error.strerror}" if error.filename is None else f"{error.filename}: {error.strerror}"
