"""Host directories of `!Persistent` volumes, made where `mkdir: true` says so."""

from __future__ import annotations

import contextlib
import os

from manor.kernel.inside import open_beneath_no_symlinks
from manor.lithos.errors import StartRefused
from manor.lithos.files.volumes import Persistent
from manor.lithos.rules.host_state import open_host_part
from manor.lithos.rules.volumes import PlannedVolume


def make_missing(planned: PlannedVolume) -> None:
    """Make a missing directory with its parents; only what is made here gets owner and mode. Links are refused."""
    volume, host = planned.volume, planned.host
    if host is None or not isinstance(volume, Persistent) or not volume.mkdir:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            os.close(open_host_part(host))
            return
        os.makedirs(host.base, exist_ok=True)
        if not host.beneath:
            fd = os.open(host.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            fd = _make_beneath(host.base, host.beneath)
        try:
            os.fchown(fd, *planned.owner)
            os.fchmod(fd, volume.mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise StartRefused(f"volume `{planned.mount_point}`: cannot make {host.path}: {error.strerror}") from error


def _make_beneath(base: str, path: str) -> int:
    """A descriptor of the last directory; each is opened without following links, and made in the one before."""
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.split("/"):
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=fd)
        inner = open_beneath_no_symlinks(fd, part, os.O_RDONLY | os.O_DIRECTORY)
        os.close(fd)
        fd = inner
    return fd
