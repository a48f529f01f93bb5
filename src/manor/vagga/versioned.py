"""The files of the project that versions depend on: walking them, their digests, their owners as seen inside."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manor.vagga.digests import DigestCache
from manor.vagga.errors import PreparationError, UnknownVersion

if TYPE_CHECKING:
    from manor.vagga.selection import Selection

Owner = Callable[[os.stat_result], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """One selected file, link or directory.

    Attributes:
        path: relative to what was walked; empty for that itself.
        host: where it really is.
    """

    path: str
    host: Path
    stat: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.stat.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.stat.st_mode)


def walk(source: Path, selection: Selection) -> list[Found]:
    """What a selection takes from a file or directory, in the byte order of the paths; `source` itself first.

    FileNotFoundError when there is no source.
    """
    top = Found("", source, os.lstat(source))
    if not top.is_directory:
        return [top]
    return [top, *sorted(_walk_directory(source, "", selection), key=lambda found: os.fsencode(found.path))]


def _walk_directory(directory: Path, prefix: str, selection: Selection) -> Iterator[Found]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False):
                if selection.takes(path, is_directory=False):
                    yield Found(path, Path(entry.path), entry.stat(follow_symlinks=False))
                continue
            below = list(_walk_directory(Path(entry.path), path + "/", selection)) if selection.enters(path) else []
            if below or selection.takes(path, is_directory=True):
                yield Found(path, Path(entry.path), entry.stat(follow_symlinks=False))
                yield from below


class VersionedFiles:
    """The project as its versions see it.

    Args:
        owner: the uid and gid inside of a file, from its stat.
    """

    def __init__(self, root: Path, digests: DigestCache, owner: Owner) -> None:
        self.root = root
        self._digests = digests
        self._owner = owner

    def select(self, path: str, selection: Selection) -> list[Found]:
        """What is selected below a path relative to the project. UnknownVersion when it does not exist (yet)."""
        try:
            return walk(self.root / path, selection)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnknownVersion(f"`{path}`") from error

    def content(self, found: Found) -> bytes | str:
        """What a file or link is made of: the digest of its content, or the target."""
        name = os.fsencode(found.path)
        try:
            name.decode()
        except UnicodeDecodeError:
            raise PreparationError(f"the name of {found.host!s:.200} is not UTF-8; rename the file") from None
        if found.is_link:
            return os.readlink(found.host)
        if found.is_file:
            return self._digests.digest(found.host, found.stat)
        raise PreparationError(f"{found.host} is neither file, link nor directory; leave it out of the selection")

    def owner(self, found: Found) -> tuple[int, int]:
        """uid and gid as seen inside; 65534 if they are not mapped."""
        return self._owner(found.stat)

    def text(self, path: str) -> str:
        """A small text file, relative to the project. UnknownVersion when it does not exist (yet)."""
        try:
            return (self.root / path).read_text(errors="surrogateescape")
        except FileNotFoundError as error:
            raise UnknownVersion(f"`{path}`") from error
        except OSError as error:
            raise PreparationError(f"cannot read {self.root / path}: {error.strerror}") from error
