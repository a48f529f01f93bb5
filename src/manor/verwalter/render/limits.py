"""What the administrators of a node let render files do: `sandbox/*.yaml`."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.errors import ConfigError, Position
from manor.config.loader import load_file
from manor.config.units import AbsolutePath
from manor.verwalter.render.errors import BadInput


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All files of the directory together; None is no limit."""

    log_dirs: dict[str, AbsolutePath] | None = None
    allow_commands: tuple[str, ...] | None = None
    allow_paths: tuple[AbsolutePath, ...] | None = None
    run_as: str | None = None

    def command_refusal(self, program: str) -> str | None:
        """Why the program may not be started; None if it may."""
        if self.allow_commands is None or program in self.allow_commands:
            return None
        return f"`{program}` is not in `allow-commands` of this node; allowed: {_listed(self.allow_commands)}"

    def path_refusal(self, path: str) -> str | None:
        """Why the file may not be written; None if it may."""
        parts = Path(path).parts
        if self.allow_paths is None or any(is_below(parts, Path(glob).parts) for glob in self.allow_paths):
            return None
        return f"{path} is not in `allow-paths` of this node; allowed: {_listed(self.allow_paths)}"


def _listed(allowed: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in allowed) or "nothing"


def is_below(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern or lies below what matches it. `*`, `?`, `[…]` stay within a component, `**`
    is any number of components; a leading dot must be written."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(is_below(parts[skipped:], pattern[1:]) for skipped in range(len(parts)))
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and is_below(parts[1:], pattern[1:])


def read_limits(directory: Path) -> Limits:
    """Merge the files of `sandbox/`; an option in two of them is an error, a missing directory is no limit.

    Raises:
        BadInput: the position and what is wrong.
    """
    merged = Limits()
    found_in: dict[str, Path] = {}
    for path in _files(directory):
        try:
            document = load_file(path, Limits, VERWALTER)
        except ConfigError as error:
            raise BadInput(str(error)) from error
        for field in msgspec.structs.fields(Limits):
            value = getattr(document.value, field.name)
            if value is None:
                continue
            position, option = document.at(field.name), field.name.replace("_", "-")
            _refuse_twice(position, option, found_in.get(field.name))
            if field.name == "run_as":
                raise BadInput(f"{position}: `run-as` is not supported yet; leave it out")
            merged = msgspec.structs.replace(merged, **{field.name: value})
            found_in[field.name] = path
    return merged


def _refuse_twice(position: Position, option: str, before: Path | None) -> None:
    if before is not None:
        raise BadInput(f"{position}: `{option}` stands in {before} already; keep it in one file")


def refuse_writable(config_dir: Path) -> None:
    """When sudo made us root, whoever asked must not be able to choose the limits.

    A link is refused too, and so is a missing directory in a place where others could have taken it away.

    Raises:
        BadInput: the path that is not root's alone.
    """
    sandbox = config_dir / "sandbox"
    present = os.path.lexists(sandbox)
    for path in [sandbox, *_files(sandbox)] if present else [config_dir]:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode) or facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            what = (
                "writable for others than root" if present else "without `sandbox`, and writable for others than root"
            )
            raise BadInput(f"{path}: {what}; make `sandbox` a directory of root, mode 0755")


def _files(directory: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"{directory}: {error.strerror}") from error
    return [directory / name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith((".", "#"))]
