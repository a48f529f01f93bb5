"""From names of containers to finished images: which versions are wanted, which are there, building the others."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.vagga.config import build_order
from manor.vagga.digests import DigestCache
from manor.vagga.errors import NeedsBuild, PreparationError, UnknownVersion, warn
from manor.vagga.id_ranges import Maps, maps_for
from manor.vagga.project import Project
from manor.vagga.reading import Containers, Merged
from manor.vagga.settings import Settings, cache_directory
from manor.vagga.store import Image, Store
from manor.vagga.version import Versions, explicit_epoch
from manor.vagga.versioned import VersionedFiles

if TYPE_CHECKING:
    from manor.vagga.enclosure import Channel


UNKNOWN: Final = "unknown-"


class Check(enum.Enum):
    """What may be done to have an image."""

    BUILD = "build it if needed"
    NO_BUILD = "the version is checked, nothing is built"
    NO_CHECK = "what the link points to is taken as it is"


@dataclass(frozen=True, slots=True)
class Force:
    """Steps that run although their layers are there; from 1: all of them."""

    from_step: int = 1


class Images:
    """The images of one project."""

    def __init__(self, project: Project, merged: Merged, settings: Settings) -> None:
        self.project = project
        self.containers = Containers(merged.containers)
        self.settings = settings
        self.store = Store(project.vagga_dir, cache_directory(settings, project.vagga_dir))
        self.epoch = explicit_epoch(settings)
        self._digests = DigestCache(self.store.state / "digests")
        self._versions: Versions | None = None
        self._ready: dict[str, Image] = {}

    def maps(self, name: str) -> Maps:
        """The id maps a container needs, made for the caller."""
        container = self.containers[name]
        return maps_for(container.uids, container.gids)

    def versions(self, *, fresh: bool = False) -> Versions:
        """Versions as the files are now; the same object until `fresh` is asked for."""
        if self._versions is None or fresh:
            self._versions = Versions(self.containers, self._files(outside=True), self.epoch)
        return self._versions

    def _files(self, *, outside: bool) -> VersionedFiles:
        owner = owner_outside if outside else owner_inside
        return VersionedFiles(self.project.root, self._digests, owner)

    def require(self, name: str, check: Check) -> Image:
        """The image of a container, built first if that is needed and allowed."""
        if name not in self.containers:
            raise PreparationError(f"container `{name}` does not exist in vagga.yaml; add it or correct the name")
        if check is Check.NO_CHECK:
            image = self.store.current(name)
            if image is None:
                raise NeedsBuild(f"container `{name}` was never built; build it with `vagga _build {name}`")
            return image
        image = self.find(name)
        if image is None and check is Check.NO_BUILD:
            raise NeedsBuild(f"container `{name}` needs a build ({self._why(name)}); run `vagga _build {name}`")
        if image is None:
            image = self.build([name])[name]
        self._digests.save()
        self.store.point(image)
        return image

    def find(self, name: str) -> Image | None:
        """The image of the wanted version, None if it is not there or the version is unknown."""
        try:
            version = self.versions().version(name)
        except UnknownVersion:
            return None
        found = self.store.find(name, version)
        if found is None:
            return None
        if self.store.find(name, version, self.maps(name)) is None:
            warn(f"the id map of container `{name}` has changed since it was built; it is built again")
            return None
        return found

    def settle(self) -> None:
        """Keep what was learnt about files, for the next call."""
        self._digests.save()

    def layers_until(self, name: str, step: int) -> list[Path]:
        """The root as after a step, from the uppermost layer down; its layers must be there."""
        from manor.vagga.layer_walk import layers_until

        if name not in self.containers:
            raise PreparationError(f"container `{name}` does not exist in vagga.yaml; add it or correct the name")
        return layers_until(self, name, step)

    def _why(self, name: str) -> str:
        try:
            version = self.versions().version(name)
        except UnknownVersion as error:
            return str(error)
        current = self.store.current(name)
        if current is None:
            return "it was never built"
        return f"have {current.directory.name.rpartition('.')[2]}, want {version[:8]}"

    def build(self, names: Iterable[str], force: Force | None = None) -> dict[str, Image]:
        """Build containers and all they are built from, each once, what is needed first."""
        self.store.create()
        for name in build_order(list(names), self.containers):
            image = None if force else self.find(name)
            self._ready[name] = image or self._build_one(name, force)
        return {name: self._ready[name] for name in names}

    def _build_one(self, name: str, force: Force | None) -> Image:
        try:
            wanted = self.versions().version(name)
        except UnknownVersion:
            wanted = UNKNOWN  # one lock for all builds of the container that begin like this
        wait = self.settings.build_lock_wait is not False
        maps = self.maps(name)
        with self.store.building(name, wanted, wait=wait):
            image = None if force else self.find(name)
            if image is not None:
                return image
            self._remove_orphans()
            version = self._run_builder(name, maps, force)
        self._digests.save()
        self._compare_with_now(name, version)
        image = self.store.find(name, version)
        assert image is not None, "the builder committed this image"
        previous = self.store.current(name)
        self.store.point(image)
        self._clean_previous(name, previous, image)
        self._check_deployment(name, image)
        return image

    def _compare_with_now(self, name: str, built: str) -> None:
        """Warn if files changed during the build: what was built is named by what its steps have read."""
        try:
            now = self.versions(fresh=True).version(name)
        except UnknownVersion as error:
            raise PreparationError(
                f"container `{name}`: {error.missing} is still missing after the build; create it"
            ) from None
        if now != built:
            warn(f"files that container `{name}` depends on changed during the build; the next start builds it again")

    def _run_builder(self, name: str, maps: Maps, force: Force | None) -> str:
        from manor.vagga.enclosure import Enclosure

        def work(channel: Channel) -> str:
            from manor.vagga.builder import Builder, Order

            versions = Versions(self.containers, self._files(outside=False), self.epoch)
            order = Order(
                name=name,
                container=self.containers[name],
                project=self.project.root,
                store=self.store,
                settings=self.settings,
                maps=maps,
                versions=versions,
                epoch=self.epoch,
                image_of=self._image_of,
                force_from=force.from_step if force else 0,
            )
            version = Builder(order).build()
            self._digests.save()
            return version

        sys.stderr.flush()
        enclosure = Enclosure(maps, work)
        try:
            return enclosure.wait()
        except BaseException:
            enclosure.kill()
            raise

    def _image_of(self, name: str) -> Image:
        image = self._ready.get(name) or self.find(name)
        if image is None:
            raise PreparationError(f"the image of container `{name}` is gone; start the build again")
        return image

    def _remove_orphans(self) -> None:
        """What earlier builds that were killed have left."""
        from manor.vagga.cleaning import remove_inside

        orphans = list(self.store.orphans())
        if orphans:
            remove_inside(orphans, self.containers.values())

    def _clean_previous(self, name: str, previous: Image | None, image: Image) -> None:
        container = self.containers[name]
        if not container.auto_clean or self.settings.disable_auto_clean or previous is None:
            return
        if previous.directory != image.directory:
            from manor.vagga.cleaning import remove_images

            remove_images([previous], self.containers.values())

    def _check_deployment(self, name: str, image: Image) -> None:
        from manor.vagga.deployment import deployment_warnings, is_deployment

        if is_deployment(name):
            layers = image.meta().layers
            base = self.store.layers / layers[0] / "diff" if layers else None
            for text in deployment_warnings(image.root, base):
                warn(f"{name}: {text}")


def owner_inside(status: os.stat_result) -> tuple[int, int]:
    """For a process inside of the id map, which sees the owners as they are."""
    return status.st_uid, status.st_gid


def owner_outside(status: os.stat_result) -> tuple[int, int]:
    """For the caller, who is 0 inside; other owners by the map of all ids."""
    uid, gid = os.getuid(), os.getgid()
    if status.st_uid == uid and status.st_gid == gid:
        return 0, 0
    maps = _whole_maps()
    return _inside_or_nobody(maps.uids if maps else None, status.st_uid, uid), _inside_or_nobody(
        maps.gids if maps else None, status.st_gid, gid
    )


NOBODY = 65534
_whole: list[Maps | None] = []


def _whole_maps() -> Maps | None:
    """The default map of the caller; None if there are not enough ids for it."""
    if not _whole:
        try:
            _whole.append(maps_for(("0-65535",), ("0-65535",)))
        except PreparationError:
            _whole.append(None)
    return _whole[0]


def _inside_or_nobody(ranges: object, outside: int, own: int) -> int:
    from manor.kernel import id_map

    if outside == own:
        return 0
    try:
        return id_map.to_inside(ranges, outside) if ranges else NOBODY  # type: ignore[arg-type]
    except id_map.IdNotMapped:
        return NOBODY
