"""Building one container: walking its steps, taking layers that are there, making the others, committing the image.

Runs inside the enclosure: as pid 1 and uid 0 of the container's id map, with mounts of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from manor import VERSION
from manor.config.errors import ManorError
from manor.kernel import mounts
from manor.kernel.file_systems import sync_file_system
from manor.vagga.config import Container
from manor.vagga.durable import locked, remove_tree, temporary
from manor.vagga.errors import PreparationError, UnknownVersion
from manor.vagga.finish import finish
from manor.vagga.flatten import Method, flatten
from manor.vagga.guest import Guest
from manor.vagga.id_ranges import Maps, format_map
from manor.vagga.layers import Layer, LayerStore, layer_key, mark_synced
from manor.vagga.machine import architecture
from manor.vagga.settings import Settings
from manor.vagga.state import BuildState
from manor.vagga.steps.container import Container as ContainerStep
from manor.vagga.steps.interface import Step
from manor.vagga.store import LAST_USE, Image, ImageMeta, Store
from manor.vagga.version import Link, Versions

LOWER_MAX: Final = 180  # more layers than that do not fit into the options of one overlay mount


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built.

    Attributes:
        image_of: the finished image of another container.
        force_from: steps from this number on run even if their layer is there; 0 for "none".
    """

    name: str
    container: Container
    project: Path
    store: Store
    settings: Settings
    maps: Maps
    versions: Versions
    epoch: int | None
    image_of: Callable[[str], Image]
    force_from: int = 0


@dataclass(slots=True)
class Progress:
    """Where the walk stands."""

    state: BuildState
    layers: list[Layer] = field(default_factory=list)
    base: Image | None = None
    reused: int = 0
    made: int = 0
    recipe: list[dict[str, object]] = field(default_factory=list)
    timings: list[str] = field(default_factory=list)


class Builder:
    """One build."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._layers = LayerStore(order.store.layers)
        self._started = time.time()
        self._done = Progress(BuildState(epoch=order.epoch))
        self._stage = order.store.stage

    def build(self) -> str:
        """Build and commit; the version under which the image was committed."""
        order = self._order
        mounts.mount("tmpfs", self._stage, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0700")
        (self._stage / "root").mkdir()
        work = temporary(order.store.roots / order.name)
        remove_tree(work)
        work.mkdir()
        try:
            with open(work / "build.log", "wb") as log, contextlib.ExitStack() as held:
                version = self._walk(log, held)
                self._finish(version, work, log)
                return self._commit(version, work)
        finally:
            remove_tree(work)

    def _walk(self, log: BinaryIO, held: contextlib.ExitStack) -> str:
        """All steps; the version."""
        order, done = self._order, self._done
        digest = order.versions.begin(order.container)
        for number, step in enumerate(order.container.setup, start=1):
            began = time.time()
            try:
                link = order.versions.link(digest, number, step)
            except UnknownVersion as error:
                raise PreparationError(f"{self._place(number, step)}: {error.missing} is missing; create it") from None
            if isinstance(step, ContainerStep):
                self._begin_from(step.name, held)
                how = "cached"
            elif not step.layer:
                self._replay(step, log)
                how = "state"
            else:
                how = self._layer(link, log)
            done.recipe.append({"step": type(step).__name__, "fields": _plain(link), "chain": link.digest})
            mark = " cached" if how == "cached" else ""
            done.timings.append(f"{began - self._started:9.3f} {time.time() - began:9.3f} {step.title}{mark}\n")
            digest = link.digest
        return order.versions.end(digest)

    def _layer(self, link: Link, log: BinaryIO) -> str:
        """The layer of one step: taken if it is there, else made."""
        order, done = self._order, self._done
        key = layer_key(link.digest, order.maps, done.state.epoch)
        with self._layers.making(key):
            forced = 0 < order.force_from <= link.number
            layer = None if forced else self._layers.find(key, self._parent())
            if layer is not None:
                done.reused += 1
                done.layers.append(layer)
                done.state = layer.meta.state.copy()
                return "cached"
            self._tell(f"{self._place(link.number, link.step)}", log)
            with self._naming(link.number, link.step):
                self._make(key, link.digest, link.step.title, log, lambda guest, _: link.step.build(guest))
            done.made += 1
        return "made"

    def _make(
        self,
        key: str,
        chain: str,
        title: str,
        log: BinaryIO,
        work: Callable[[Guest, Path], None],
        beside: Path | None = None,
    ) -> None:
        """Run `work` on the root as it is so far and keep what it changes."""
        done = self._done
        began = time.time()
        with self._layers.unfinished(key) as directory:
            root = self._stage / "root"
            mounts.overlay(
                root,
                lower=self._lower(),
                upper=directory / "diff",
                work=directory / "work",
                options={"userxattr": None, "volatile": None},
            )
            guest = self._guest(root, log)
            succeeded = False
            try:
                os.chmod(root, 0o755)
                work(guest, beside or directory)
                succeeded = True
            finally:
                guest.finish(succeeded=succeeded)
                mounts.unmount(root, lazy=True)
            layer = self._layers.commit(
                directory,
                key,
                step=title,
                chain=chain,
                parent=self._parent(),
                seconds=time.time() - began,
                state=guest.state,
            )
            done.layers.append(layer)
            done.state = layer.meta.state.copy()

    def _lower(self) -> list[Path]:
        """What is below the next layer, the uppermost first; an empty directory when there is nothing."""
        done = self._done
        lower = [layer.diff for layer in reversed(done.layers)]
        if done.base is not None:
            lower.append(done.base.root)
        if not lower:
            (self._stage / "nothing").mkdir(exist_ok=True)
            lower = [self._stage / "nothing"]
        if len(lower) > LOWER_MAX:
            raise PreparationError(f"more than {LOWER_MAX} layers; split the container and build one part on the other")
        return lower

    def _parent(self) -> str:
        done = self._done
        if done.layers:
            return done.layers[-1].meta.identity
        return done.base.directory.name if done.base else ""

    def _begin_from(self, name: str, held: contextlib.ExitStack) -> None:
        """`!Container`: go on from that container's layers, or from its image if they are gone or too many."""
        done = self._done
        image = self._order.image_of(name)
        held.enter_context(locked(image.last_use, shared=True))
        os.utime(image.last_use)
        meta = image.meta()
        if done.layers or done.base:
            raise PreparationError(
                f"`!Container {name}` behind steps that make files is not supported yet; put it first"
            )
        layers = [self._layers.get(key) for key in meta.layers]
        present = [layer for layer in layers if layer is not None]
        if len(present) == len(layers) and len(layers) < LOWER_MAX // 2:
            done.layers = present
        else:
            done.base = image
        inherited = msgspec.json.decode(meta.state, type=BuildState)
        if self._order.epoch is not None:
            inherited.epoch = self._order.epoch
        done.state = inherited

    def _replay(self, step: Step, log: BinaryIO) -> None:
        """A step that changes only the state."""
        guest = self._guest(self._stage / "root", log)
        step.build(guest)
        self._done.state = guest.state

    def _finish(self, version: str, work: Path, log: BinaryIO) -> None:
        """The layer of the end of the build; the package lists come beside the image."""
        order, done = self._order, self._done
        key = layer_key(version, order.maps, done.state.epoch)
        with self._layers.making(key):
            layer = None if order.force_from else self._layers.find(key, self._parent())
            if layer is None:
                with self._naming(len(order.container.setup), None):
                    self._make(
                        key, version, "end of build", log, lambda guest, beside: finish(guest, order.container, beside)
                    )
                layer = done.layers[-1]
            else:
                done.layers.append(layer)
                done.state = layer.meta.state.copy()
        for name in ("debian-packages.txt", "pip3-freeze.txt"):
            source = layer.directory / name
            if source.exists():
                (work / name).write_bytes(source.read_bytes())

    def _commit(self, version: str, work: Path) -> str:
        order, done = self._order, self._done
        method: Method = "copy" if order.settings.flatten == "copy" else "hardlink"
        diffs = [layer.diff for layer in done.layers]
        size = flatten([done.base.root, *diffs] if done.base else diffs, work / "root", method)
        meta = ImageMeta(
            version=version,
            name=order.name,
            builder=VERSION,
            started_at=self._started,
            ended_at=time.time(),
            epoch=done.state.epoch_or_default,
            architecture=architecture(),
            distribution=f"{done.state.distribution.name} {done.state.distribution.codename}"
            if done.state.distribution
            else "",
            layers=[layer.key for layer in done.layers],
            size=size.bytes,
            files=size.files,
            state=msgspec.Raw(msgspec.json.encode(done.state)),
        )
        (work / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta)))
        (work / "recipe.json").write_bytes(msgspec.json.format(msgspec.json.encode(done.recipe)))
        (work / "timings.log").write_text("".join(done.timings))
        (work / "uid_map").write_text(format_map(order.maps.uids))
        (work / "gid_map").write_text(format_map(order.maps.gids))
        (work / LAST_USE).touch()
        sync_file_system(work)
        mark_synced(done.layers)
        order.store.commit(work, order.store.image(order.name, version))
        self._report(version)
        return version

    def _report(self, version: str) -> None:
        done = self._done
        if os.environ.get("VAGGA_PROGRESS") != "quiet":
            seconds = time.time() - self._started
            print(
                f"vagga: {self._order.name} {version[:8]} built in {seconds:.1f} s;"
                f" {done.reused} steps taken from layers, {done.made} run",
                file=sys.stderr,
                flush=True,
            )

    def _guest(self, root: Path, log: BinaryIO) -> Guest:
        order = self._order
        return Guest(
            container=order.name,
            root=root,
            project=order.project,
            store=order.store,
            settings=order.settings,
            state=self._done.state.copy(),
            inputs=order.versions,
            log=log,
            image_of=lambda name: order.image_of(name).root,
            resolv_conf=order.container.resolv_conf_path,
            hosts=order.container.hosts_file_path,
        )

    def _place(self, number: int, step: Step) -> str:
        return f"{self._order.name} {number}/{len(self._order.container.setup)} {step.title}"

    def _tell(self, text: str, log: BinaryIO) -> None:
        log.write(f"{text}\n".encode())
        log.flush()
        if os.environ.get("VAGGA_PROGRESS") != "quiet":
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _naming(self, number: int, step: Step | None) -> Iterator[None]:
        """A failure tells which step of which container it was, and how to look inside."""
        name, total = self._order.name, len(self._order.container.setup)
        where = (
            f"container `{name}`, step {number}/{total} {step.title}" if step else f"container `{name}`, end of build"
        )
        try:
            yield
        except (ManorError, OSError) as error:
            text = (
                str(error)
                if isinstance(error, ManorError)
                else f"{error.filename or ''}: {error.strerror}".lstrip(": ")
            )
            look = f"; look inside with `vagga _run --step {number - 1} {name} sh`" if step and number > 1 else ""
            raise PreparationError(f"{where}: {text}{look}") from error


def _plain(link: Link) -> list[list[object]]:
    """The fields of a step for recipe.json; digests in hex."""

    def shown(value: object) -> object:
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, list | tuple):
            return [shown(item) for item in value]
        return value

    return [[name, shown(value)] for name, value in link.hasher.fields]
