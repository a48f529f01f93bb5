"""The whole configuration of a project: main file, mixins, local files, settings; read, checked and cached.

The cache (`.vagga/.state/config`) holds the merged result together with every file that was read or looked for. It is
used when all of them are as they were: by their stat data if these are older than the cache by two seconds, else by
their content. A cache that cannot be read or written is no error.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from manor import VERSION
from manor.vagga import settings as settings_module
from manor.vagga.config import Command, Container
from manor.vagga.durable import write_atomic
from manor.vagga.project import LOCAL_FILES, MAIN_FILES, Project
from manor.vagga.settings import PROJECT_FILES, USER_FILES, Settings
from manor.vagga.steps.table import step_class

SETTLED_NS: Final = 2_000_000_000


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """All containers and commands, each with the file it comes from.

    Attributes:
        user_settings: of the user's files, in order; those of the environment come after them.
        warnings: what was said when the files were read; said again when the cache is used.
    """

    containers: dict[str, msgspec.Raw]  # see `Containers`
    commands: dict[str, Command]
    origins: dict[str, str]  # `containers.NAME`, `commands.NAME` -> file
    user_settings: list[Settings]
    project_settings: list[Settings]
    warnings: list[str] = []


class Containers(Mapping[str, Container]):
    """The containers by name, each made when it is asked for, with the steps it really has."""

    def __init__(self, raw: Mapping[str, msgspec.Raw]) -> None:
        self._raw = raw
        self._made: dict[str, Container] = {}

    def __getitem__(self, name: str) -> Container:
        if name not in self._made:
            plain = msgspec.msgpack.decode(self._raw[name], type=Container)
            steps = tuple(msgspec.convert(s, step_class(s["type"])) for s in plain.setup)  # type: ignore[index]
            self._made[name] = msgspec.structs.replace(plain, setup=steps)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A file as it was when it was read; `digest` is empty when it was not there."""

    path: str
    identity: tuple[int, int, int, int, int] | None
    digest: bytes


class _Cache(msgspec.Struct, frozen=True):
    version: str
    home: str
    made_at_ns: int
    seen: list[Seen]
    merged: Merged


def read_configuration(project: Project) -> tuple[Merged, Settings]:
    """The configuration and the settings in effect. ConfigError or ConfigurationError if they cannot be used."""
    merged = _from_cache(project)
    if merged is None:
        from manor.vagga.merging import read_files

        began_ns = time.time_ns()
        merged, files = read_files(project)
        _keep(project, merged, [seen(path) for path in files], began_ns)
    for text in merged.warnings:
        from manor.vagga.errors import warn

        warn(text)
    return merged, _effective_settings(project, merged)


def _effective_settings(project: Project, merged: Merged) -> Settings:
    home = os.environ.get("HOME", "/")
    users = list(merged.user_settings)
    if os.environ.get(settings_module.VARIABLE):
        from manor.vagga.merging import settings_from_environment

        users += settings_from_environment()
    sources = [site for user in users for site in settings_module.with_site_settings(user, project.root, home)]
    return settings_module.merged([*sources, *merged.project_settings])


def looked_for(project: Project) -> list[Path]:
    """Every file that would be read if it existed, besides mixins and includes."""
    names = [project.root / name for name in (*MAIN_FILES, *LOCAL_FILES, *PROJECT_FILES)]
    return [*names, *user_settings_files()]


def user_settings_files() -> list[Path]:
    """The user's settings files, the weakest first."""
    home = os.environ.get("HOME")
    return [Path(home) / name for name in USER_FILES] if home else []


def cache_file(project: Project) -> Path:
    return project.vagga_dir / ".state/config"


def _from_cache(project: Project) -> Merged | None:
    try:
        cache = msgspec.msgpack.decode(cache_file(project).read_bytes(), type=_Cache)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    if cache.version != VERSION or cache.home != os.environ.get("HOME", ""):
        return None
    return cache.merged if all(_unchanged(entry, cache.made_at_ns) for entry in cache.seen) else None


def _keep(project: Project, merged: Merged, entries: Iterable[Seen], made_at_ns: int) -> None:
    if not project.vagga_dir.is_dir():
        return  # nothing was built here yet
    cache = _Cache(VERSION, os.environ.get("HOME", ""), made_at_ns, list(entries), merged)
    try:
        cache_file(project).parent.mkdir(exist_ok=True)
        write_atomic(cache_file(project), msgspec.msgpack.encode(cache), mode=0o600)
    except OSError:
        return  # the next run reads the files again


def seen(path: Path) -> Seen:
    """A file (or a directory whose entries count) as it is now."""
    try:
        status = os.stat(path)
        return Seen(str(path), _identity(status), _content_digest(path))
    except OSError:
        return Seen(str(path), None, b"")


def _unchanged(entry: Seen, made_at_ns: int) -> bool:
    try:
        status = os.stat(entry.path)
    except OSError:
        return entry.identity is None
    if entry.identity is None:
        return False
    if _identity(status) == entry.identity and max(status.st_mtime_ns, status.st_ctime_ns) + SETTLED_NS < made_at_ns:
        return True
    try:
        return _content_digest(Path(entry.path)) == entry.digest
    except OSError:
        return False


def _content_digest(path: Path) -> bytes:
    if path.is_dir():
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode("utf-8", "surrogateescape")).digest()
    return hashlib.sha256(path.read_bytes()).digest()


def _identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
