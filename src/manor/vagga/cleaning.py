"""Removing images, layers and leftovers. Files may belong to subordinate ids, so the work is done inside the id map."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from manor.vagga.config import ALL_IDS, Container
from manor.vagga.durable import TMP, host_pid, locked, remove_tree
from manor.vagga.enclosure import Channel, Enclosure
from manor.vagga.errors import PreparationError
from manor.vagga.id_ranges import Maps, maps_for
from manor.vagga.store import Image


def remove_inside(paths: Sequence[Path], containers: Iterable[Container] = ()) -> None:
    """Delete files and trees as the root of the widest id map at hand."""
    if not paths:
        return

    def work(channel: Channel) -> str:
        for path in paths:
            remove_tree(path)
        return ""

    Enclosure(widest_maps(containers), work).wait()


def remove_images(images: Sequence[Image], containers: Iterable[Container] = ()) -> list[Image]:
    """Delete images that nobody uses; those in use are given back.

    An image leaves its place by a rename under the lock, so that nobody can find half of it.
    """
    kept, doomed = [], []
    for image in images:
        try:
            with locked(image.last_use, wait=False):
                doomed.append(
                    image.directory.rename(image.directory.with_name(f"{TMP}{image.directory.name}.{host_pid()}"))
                )
        except BlockingIOError:
            kept.append(image)
        except FileNotFoundError:
            doomed.append(image.directory)
    remove_inside(doomed, containers)
    return kept


def widest_maps(containers: Iterable[Container]) -> Maps:
    """All ids if the caller has them; else those of the container that asks for most."""
    try:
        return maps_for(ALL_IDS, ALL_IDS)
    except PreparationError:
        pass
    best = Maps((), ())
    for container in containers:
        try:
            maps = maps_for(container.uids, container.gids)
        except PreparationError:
            continue
        if sum(r.count for r in maps.uids) > sum(r.count for r in best.uids):
            best = maps
    return best if best.uids else maps_for(("0",), ("0",))


def size_of(path: Path) -> int:
    """Bytes of the regular files below a path; what cannot be read counts nothing."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(f"{directory}/{name}").st_size
            except OSError:
                continue
    return total
