"""`runtime/` and `machine/`: a tree of files read into one tree of values, byte for byte the same on all nodes.

`runtime/site/v1.2.yaml` gives `site -> v1.2`, `runtime/site/v1.2/daemons.yaml` gives `site -> v1.2 -> daemons`. An
error concerns its file only and is kept as a record; everything else is read.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from manor.config.errors import ConfigError
from manor.config.loader import load_data

DEPTH_MAX: Final = 16
FILES_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
STORE: Final = ".store"
_EXTENSIONS: Final = (".yaml", ".yml", ".json", ".txt")


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One file or directory that was left out."""

    kind: str
    path: str  # below the tree
    message: str


@dataclass(frozen=True, slots=True)
class Tree:
    values: dict[str, Any]
    troubles: tuple[Trouble, ...]


@dataclass(slots=True)
class _Reading:
    root: Path
    troubles: list[Trouble] = field(default_factory=list)
    files: int = 0

    def holds(self, target: Path) -> bool:
        """Links may lead to the tree itself, or to the store beside it where delivered metadata lies."""
        root = self.root.resolve()
        return target.is_relative_to(root) or target.is_relative_to(root.parent / STORE)

    def complain(self, kind: str, path: Path, message: str) -> None:
        self.troubles.append(Trouble(kind=kind, path=str(path.relative_to(self.root)), message=message))


class _Refused(Exception):
    """A file that is no data: kind and message of its record."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_tree(root: Path) -> Tree:
    """All files below `root`; a missing directory is an empty tree."""
    reading = _Reading(root)
    if not root.exists():
        return Tree({}, ())
    values = _read_directory(root, reading, depth=0)
    return Tree(values, tuple(reading.troubles))


def _read_directory(directory: Path, reading: _Reading, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        reading.complain("ScanDir", directory, f"more than {DEPTH_MAX} directories deep")
        return {}
    files: dict[str, Any] = {}
    directories: list[tuple[str, Path]] = []
    for entry in _entries(directory, reading):
        if entry.is_dir():
            directories.append((entry.name.removesuffix(".d"), entry))
        elif entry.suffix in _EXTENSIONS:
            _put_file(files, entry, reading)
    for name, entry in directories:
        _put_directory(files, name, entry, _read_directory(entry, reading, depth + 1), reading)
    return files


def _entries(directory: Path, reading: _Reading) -> Iterator[Path]:
    """What counts, sorted: no hidden or backup files, no devices, no links that lead elsewhere."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        reading.complain("ScanDir", directory, str(error.strerror))
        return
    for name in names:
        if name.startswith((".", "#")) or name.endswith("~"):
            continue
        path = directory / name
        try:
            mode = path.stat().st_mode
            inside = not path.is_symlink() or reading.holds(path.resolve())
        except OSError as error:
            reading.complain("FileRead", path, str(error.strerror))
            continue
        if inside and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            yield path


def _put_file(files: dict[str, Any], path: Path, reading: _Reading) -> None:
    name = path.name.removesuffix(path.suffix)
    reading.files += 1
    if reading.files > FILES_MAX:
        if reading.files == FILES_MAX + 1:
            reading.complain("TooLarge", path, f"more than {FILES_MAX} files; the rest is left out")
        return
    if name in files:
        reading.complain("Conflict", path, f"`{name}` is given by another file already")
        return
    try:
        files[name] = _read_file(path)
    except _Refused as error:
        reading.complain(error.kind, path, str(error))


def _put_directory(files: dict[str, Any], name: str, path: Path, inside: dict[str, Any], reading: _Reading) -> None:
    """A directory's entries go into the value of the file of the same name, if that is a mapping."""
    beside = files.get(name)
    if name not in files or beside is None:
        files[name] = inside
        return
    if not isinstance(beside, dict):
        reading.complain("Conflict", path, f"`{name}` is also a file whose value is no mapping")
        files[name] = inside
        return
    for key, value in inside.items():
        if key in beside:
            reading.complain("Conflict", path, f"`{key}` is also given by the file beside this directory")
        else:
            beside[key] = value


def _read_file(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _Refused("FileRead", str(error.strerror)) from error
    if len(content) > FILE_BYTES_MAX:
        raise _Refused("TooLarge", f"larger than {FILE_BYTES_MAX // 1024**2} MiB")
    if path.suffix == ".txt":
        return _text(content)
    if path.suffix == ".json":
        return _json(content)
    return _yaml(content, path.name)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _Refused("FileRead", f"no UTF-8 at byte {error.start}") from error


def _json(content: bytes) -> Any:
    def no_constant(name: str) -> Any:
        raise _Refused("NanOrInfinity", f"`{name}` is no JSON value")

    try:
        return json.loads(content, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _Refused("JsonParse", str(error)) from error


def _yaml(content: bytes, name: str) -> Any:
    try:
        return load_data(content, name)
    except ConfigError as error:
        first = error.problems[0]
        raise _Refused(first.code or "YamlParse", str(first)) from error
