"""The base directory `.vagga`: where images, layers, volumes and caches lie, and how an image gets there.

    NAME -> .roots/NAME.HASH/root     .layers/KEY/diff     .volumes/NAME     .cache     .state

Everything unfinished has a name that begins with `.tmp.`; what has its final name is whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from manor.vagga.durable import TMP, locked, maker_is_gone, remove_tree, temporary
from manor.vagga.errors import PreparationError
from manor.vagga.id_ranges import Maps, format_map

SHORT: Final = 8
IMAGE_META: Final = "meta.json"
LAST_USE: Final = "last_use"


class ImageMeta(msgspec.Struct, frozen=True, kw_only=True):
    """meta.json beside an image."""

    version: str
    name: str
    builder: str
    started_at: float
    ended_at: float
    epoch: int
    architecture: str
    distribution: str
    layers: list[str]
    size: int
    files: int
    state: msgspec.Raw = msgspec.Raw(b"null")  # what containers built on this one go on from


@dataclass(frozen=True, slots=True)
class Image:
    """One version of a container, finished."""

    name: str
    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def last_use(self) -> Path:
        return self.directory / LAST_USE

    def meta(self) -> ImageMeta:
        return msgspec.json.decode((self.directory / IMAGE_META).read_bytes(), type=ImageMeta)


@dataclass(frozen=True, slots=True)
class Store:
    """The base directory of one project.

    Attributes:
        cache: `.cache`, or the directory that the settings name.
    """

    base: Path
    cache: Path

    @property
    def roots(self) -> Path:
        return self.base / ".roots"

    @property
    def layers(self) -> Path:
        return self.base / ".layers"

    @property
    def volumes(self) -> Path:
        return self.base / ".volumes"

    @property
    def transient(self) -> Path:
        return self.base / ".transient"

    @property
    def state(self) -> Path:
        return self.base / ".state"

    @property
    def stage(self) -> Path:
        """An empty directory that is mounted over inside the namespaces; outside it stays empty."""
        return self.state / "stage"

    def create(self) -> None:
        """Make what is missing of the base directory."""
        if self.base.is_symlink() or (self.base.exists() and not self.base.is_dir()):
            raise PreparationError(f"{self.base} is no directory of its own; move it away, vagga makes a new one")
        try:
            new = not self.base.exists()
            for directory in (self.base, self.roots, self.layers, self.volumes, self.transient, self.state, self.stage):
                directory.mkdir(exist_ok=True)
            self.cache.mkdir(exist_ok=True)
            if new or not (self.base / ".gitignore").exists():
                (self.base / ".gitignore").write_text("*\n")
        except OSError as error:
            raise PreparationError(_cannot_write(self.base, error)) from error

    def image(self, name: str, version: str) -> Image:
        """Where a version is, or would be."""
        return Image(name, self.roots / f"{name}.{version[:SHORT]}")

    def find(self, name: str, version: str, maps: Maps | None = None) -> Image | None:
        """The image of exactly this version, None if it is not there or was made with other id maps."""
        image = self.image(name, version)
        try:
            meta = image.meta()
        except (OSError, msgspec.MsgspecError):
            return None
        if meta.version != version:
            return None
        if maps is not None and self.id_maps_of(image) != (format_map(maps.uids), format_map(maps.gids)):
            return None
        return image

    @staticmethod
    def id_maps_of(image: Image) -> tuple[str, str]:
        """The contents of uid_map and gid_map beside the image."""
        try:
            return (image.directory / "uid_map").read_text(), (image.directory / "gid_map").read_text()
        except OSError:
            return "", ""

    def current(self, name: str) -> Image | None:
        """What `.vagga/NAME` points to."""
        try:
            target = os.readlink(self.base / name)
        except OSError:
            return None
        directory = (self.base / target).parent
        return Image(name, directory) if (directory / IMAGE_META).exists() else None

    def point(self, image: Image) -> None:
        """Let `.vagga/NAME` be this image."""
        link = self.base / image.name
        target = os.path.relpath(image.root, self.base)
        with contextlib.suppress(OSError):
            if os.readlink(link) == target:
                return
        name = temporary(link)
        with contextlib.suppress(FileNotFoundError):
            name.unlink()
        name.symlink_to(target)
        os.replace(name, link)

    @contextlib.contextmanager
    def building(self, name: str, version: str, *, wait: bool) -> Iterator[None]:
        """The lock of the builder of one version; PreparationError when somebody else has it and we do not wait."""
        path = self.roots / f".{name}.{version[:SHORT]}.lock"
        yield from _waiting_lock(path, f"container `{name}`", wait=wait)

    def commit(self, unfinished: Path, image: Image) -> None:
        """Give a finished directory its name; an existing version gives way."""
        old = None
        if image.directory.exists():
            old = temporary(image.directory).with_name(f"{TMP}old.{image.directory.name}.{os.getpid()}")
            remove_tree(old)
            os.rename(image.directory, old)
        os.rename(unfinished, image.directory)
        if old is not None:
            remove_tree(old)

    def orphans(self) -> Iterator[Path]:
        """Unfinished things whose maker has ended."""
        for directory in (self.base, self.roots, self.layers, self.volumes, self.transient, self.state, self.cache):
            with contextlib.suppress(FileNotFoundError):
                for name in sorted(os.listdir(directory)):
                    if name.startswith(TMP) and maker_is_gone(name):
                        yield directory / name


def _waiting_lock(path: Path, what: str, *, wait: bool) -> Iterator[None]:
    """An exclusive lock; says once what it waits for and for whom. The holder's pid is the file's content."""
    import sys

    from manor.vagga.durable import host_pid

    with contextlib.ExitStack() as stack:
        try:
            fd = stack.enter_context(locked(path, wait=False))
        except BlockingIOError:
            holder = path.read_text().strip() or "another process"
            if not wait:
                raise PreparationError(
                    f"{what} is being built by process {holder}; try again when it has ended"
                ) from None
            print(f"vagga: waiting for process {holder}, which builds {what}", file=sys.stderr, flush=True)
            fd = stack.enter_context(locked(path))
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(host_pid()).encode(), 0)
        yield


def _cannot_write(path: Path, error: OSError) -> str:
    import pwd

    owner = ""
    with contextlib.suppress(OSError, KeyError):
        at = path if path.exists() else path.parent
        owner = f" (belongs to {pwd.getpwuid(at.stat().st_uid).pw_name})"
    return f"cannot write {error.filename or path}{owner}: {error.strerror}"
