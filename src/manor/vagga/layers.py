"""Layers: the files one step added, changed or removed, caught in the upper directory of an overlay mount.

A layer's key is made of everything that its content depends on, so a layer that is there can be used without a look
into it. A layer also remembers which very layer it was made upon (`parent`, by the identity of that layer, not its
key): were the lower one cleaned away and made again, the files might differ from what this one was laid over.

Making a layer does not wait for the disk. One sync, when the image is committed, covers all layers of a build, which
are marked then; an unmarked layer is believed only within the boot that made it, since a power cut may have torn it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from manor.kernel import process
from manor.vagga.durable import locked, remove_tree, temporary, write_atomic
from manor.vagga.hasher import Hasher
from manor.vagga.id_ranges import Maps, format_map
from manor.vagga.machine import architecture
from manor.vagga.state import BuildState

FORMAT: Final = "layer 1"
KEY_DIGITS: Final = 32
SYNCED: Final = "synced"
WHITEOUT_MARKS: Final = ("user.overlay.opaque", "user.overlay.whiteout")
OVERLAY_PREFIX: Final = "user.overlay."


class LayerMeta(msgspec.Struct, frozen=True, kw_only=True):
    """meta.json of a layer."""

    boot: str
    step: str
    chain: str
    identity: str
    parent: str
    seconds: float
    state: BuildState


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer."""

    key: str
    directory: Path
    meta: LayerMeta

    @property
    def diff(self) -> Path:
        return self.directory / "diff"


def layer_key(chain: str, maps: Maps, epoch: int | None) -> str:
    """The name of the layer that a step with this chain hash makes on this machine for this user."""
    return Hasher(chain, FORMAT, architecture(), format_map(maps.uids), format_map(maps.gids), epoch).digest()[
        :KEY_DIGITS
    ]


class LayerStore:
    """`.layers/`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, key: str, parent: str) -> Layer | None:
        """The layer of that key, if it was made upon that parent."""
        layer = self.get(key)
        if layer is None or layer.meta.parent != parent:
            return None
        with contextlib.suppress(OSError):
            os.utime(layer.directory / "last_use")
        return layer

    def get(self, key: str) -> Layer | None:
        """The layer of that key, whatever it was made upon."""
        try:
            meta = msgspec.json.decode((self.directory / key / "meta.json").read_bytes(), type=LayerMeta)
        except (OSError, msgspec.MsgspecError):
            return None
        if meta.boot != process.boot_id() and not (self.directory / key / SYNCED).exists():
            return None
        return Layer(key, self.directory / key, meta)

    @contextlib.contextmanager
    def making(self, key: str) -> Iterator[None]:
        """The lock of the maker of one layer."""
        with locked(self.directory / f".{key}.lock"):
            yield

    @contextlib.contextmanager
    def unfinished(self, key: str) -> Iterator[Path]:
        """A new directory with `diff` and `work`; removed if it was not committed."""
        directory = temporary(self.directory / key)
        remove_tree(directory)
        (directory / "diff").mkdir(parents=True)
        (directory / "work").mkdir()
        try:
            yield directory
        finally:
            remove_tree(directory)

    def commit(
        self, unfinished: Path, key: str, *, step: str, chain: str, parent: str, seconds: float, state: BuildState
    ) -> Layer:
        """Clean the marks of overlayfs and late times off a diff, and give the layer its name."""
        remove_tree(unfinished / "work")
        settle(unfinished / "diff", state.epoch_or_default)
        meta = LayerMeta(
            boot=process.boot_id(),
            step=step,
            chain=chain,
            identity=secrets.token_hex(8),
            parent=parent,
            seconds=seconds,
            state=state.copy(),
        )
        write_atomic(unfinished / "meta.json", msgspec.json.encode(meta))
        (unfinished / "last_use").touch()
        final = self.directory / key
        if final.exists():
            old = unfinished.with_name(unfinished.name.replace(key, f"old-{key}"))
            os.rename(final, old)
            os.rename(unfinished, final)
            remove_tree(old)
        else:
            os.rename(unfinished, final)
        return Layer(key, final, meta)


def mark_synced(layers: Iterable[Layer]) -> None:
    """Called when the file system has been synced after the layers were made."""
    for layer in layers:
        (layer.directory / SYNCED).touch()


def settle(diff: Path, epoch: int) -> None:
    """Take off what overlayfs notes for itself (but not what marks removed files), and times later than the epoch."""
    for directory, names, files in os.walk(diff, topdown=False):
        for name in (*files, *names):
            _settle_one(f"{directory}/{name}", epoch)
    _settle_one(str(diff), epoch)


def _settle_one(path: str, epoch: int) -> None:
    status = os.lstat(path)
    if stat.S_ISCHR(status.st_mode):
        return  # a whiteout
    if not stat.S_ISLNK(status.st_mode):
        for name in os.listxattr(path):
            if name.startswith(OVERLAY_PREFIX) and name not in WHITEOUT_MARKS:
                os.removexattr(path, name)
    if status.st_mtime_ns > epoch * 10**9:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
