"""What the administrators of a node let render files do: `sandbox/*.yaml`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.errors import ManorError
from manor.config.loader import load_file
from manor.config.units import AbsolutePath


class BadLimits(ManorError):
    """sandbox/b.yaml:1:1: `log-dirs` stands in sandbox/a.yaml already; keep it in one file"""

    exit_status = 3


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """All files of the directory together; None is no limit."""

    log_dirs: dict[str, AbsolutePath] = {}
    allow_commands: tuple[str, ...] | None = None
    allow_paths: tuple[AbsolutePath, ...] | None = None
    run_as: str | None = None

    def command_refusal(self, program: str) -> str | None:
        """Why the program may not be started; None if it may."""
        if self.allow_commands is None or program in self.allow_commands:
            return None
        allowed = ", ".join(f"`{one}`" for one in self.allow_commands) or "no program"
        return f"`{program}` is not in `allow-commands` of this node; allowed: {allowed}"

    def path_refusal(self, path: Path) -> str | None:
        """Why the file may not be written; None if it may. Globs match whole paths, `*` and `?` within a component."""
        if self.allow_paths is None or any(_matches(path, pattern) for pattern in self.allow_paths):
            return None
        allowed = ", ".join(f"`{one}`" for one in self.allow_paths) or "no path"
        return f"{path} is not in `allow-paths` of this node; allowed: {allowed}"


def _matches(path: Path, pattern: str) -> bool:
    if ".." in path.parts:
        return False
    want = Path(pattern).parts
    have = path.parts[: len(want)]  # everything below a matching directory is allowed too
    return len(have) == len(want) and all(Path(one).match(glob) for one, glob in zip(have[1:], want[1:], strict=True))


def read_limits(directory: Path) -> Limits:
    """Merge the files of `sandbox/`; an option in two of them is an error, a missing directory is no limit.

    Raises:
        BadLimits, ConfigError: the file and what is wrong.
    """
    chosen: dict[str, object] = {}
    found_in: dict[str, Path] = {}
    for path in _files(directory):
        limits = load_file(path, Limits, VERWALTER).value
        for field in msgspec.structs.fields(Limits):
            value = getattr(limits, field.name)
            if value == field.default or (field.name == "log_dirs" and not value):
                continue
            if field.name in chosen:
                option = field.name.replace("_", "-")
                raise BadLimits(f"{path}:1:1: `{option}` stands in {found_in[field.name]} already; keep it in one file")
            chosen[field.name], found_in[field.name] = value, path
    limits = msgspec.convert(chosen, Limits, strict=False)
    if limits.run_as is not None:
        raise BadLimits(f"{found_in['run_as']}:1:1: `run-as` is not supported yet; leave it out")
    return limits


def refuse_writable(directory: Path) -> None:
    """When sudo made us root, the limits must not be writable for whoever asked.

    Raises:
        BadLimits: the path that is writable for others than root.
    """
    for path in [directory, *_files(directory)]:
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BadLimits(f"{path}: writable for others than root; give it to root, mode 0755")


def _files(directory: Path) -> Iterable[Path]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [directory / name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith((".", "#"))]
