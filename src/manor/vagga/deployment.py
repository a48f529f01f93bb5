"""Is an image fit to be run by lithos? Warnings for containers called `deploy` or `deploy-…`, each one line.

What lithos would say is asked of lithos' own reader of container configs; the rest are the conventions of deployment
images: nothing in /work, mount points there, nothing that delivery would open to everybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.kernel import inside

NAMED_MAX: Final = 3  # files named in one warning; the number of all is told
PYC_CHECKED_BY_HASH: Final = 1  # PEP 552: the lowest bit of the flags behind the magic number
SYSTEM_PYTHON: Final = ("usr/lib/", "usr/share/")  # byte code of the distribution's packages is its own affair
OPEN_DIRECTORIES: Final = ("tmp", "var/tmp", "dev", "run")


def is_deployment(name: str) -> bool:
    """By its name."""
    return name == "deploy" or name.startswith("deploy-")


def deployment_warnings(root: Path, base: Path | None = None) -> Iterator[str]:
    """What an administrator would stumble over later.

    Args:
        base: the files of the base system, whose modes are not the project's affair.
    """
    configs = sorted((root / "config").glob("*.yaml"))
    if not configs:
        yield "no /config/*.yaml in the image; lithos reads there how to run it"
    for path in configs:
        yield from _config_warnings(root, f"/config/{path.name}")
    if any((root / "work").iterdir()):
        yield "there is something below /work, which is the project here and nothing in production; copy it elsewhere"
    yield from _file_warnings(root, base)


def _config_warnings(root: Path, config: str) -> Iterator[str]:
    from manor.lithos.process_config import ConfigError, read_container

    try:
        value = read_container(root, config).value
    except ConfigError as error:
        yield from (str(problem) for problem in error.problems)
        return
    if not _is(root, value.executable, stat.S_ISREG):
        yield f"{config}: the executable `{value.executable}` is not in the image; install it or correct the path"
    if not _is(root, value.workdir, stat.S_ISDIR):
        yield f"{config}: the work directory `{value.workdir}` is not in the image; add `!EnsureDir {value.workdir}`"
    for place in sorted(value.volumes):
        if place.startswith("/dev/"):
            continue  # lithos makes /dev itself, with the mount points in it
        if not _is(root, place, lambda mode: stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            yield f"{config}: the mount point `{place}` is not in the image; add `!EnsureDir {place}`"


def _is(root: Path, path: str, kind: object) -> bool:
    try:
        return bool(kind(inside.stat_inside(root, path).st_mode))  # type: ignore[operator]
    except OSError:
        return False


def _file_warnings(root: Path, base: Path | None) -> Iterator[str]:
    writable: list[str] = []
    unreadable: list[str] = []
    by_time: list[str] = []
    for directory, names, files in os.walk(root):
        inner = os.path.relpath(directory, root)
        if inner in OPEN_DIRECTORIES:
            names.clear()
            continue
        for name in files:
            _look(root, os.path.normpath(f"{inner}/{name}"), base, writable, unreadable, by_time)
    if writable:
        yield f"files that everybody may write: {_named(writable)}; take the permission away"
    if unreadable:
        yield f"files that others may not read: {_named(unreadable)}; delivery opens them, so keep secrets elsewhere"
    if by_time:
        yield f"byte code that is checked by time stamp and so not used after delivery: {_named(by_time)}"


def _look(
    root: Path, path: str, base: Path | None, writable: list[str], unreadable: list[str], by_time: list[str]
) -> None:
    """One file."""
    status = os.lstat(root / path)
    if not stat.S_ISREG(status.st_mode):
        return
    if status.st_mode & 0o002:
        writable.append(path)
    if not status.st_mode & 0o004 and status.st_size and not (base is not None and os.path.lexists(base / path)):
        unreadable.append(path)
    if path.endswith(".pyc") and not path.startswith(SYSTEM_PYTHON) and _checked_by_time(root / path):
        by_time.append(path)


def _checked_by_time(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(8)
    except OSError:
        return False
    return len(header) == 8 and not header[4] & PYC_CHECKED_BY_HASH


def _named(paths: list[str]) -> str:
    shown = ", ".join(f"/{path}" for path in sorted(paths)[:NAMED_MAX])
    more = len(paths) - NAMED_MAX
    return f"{shown} and {more} more" if more > 0 else shown
