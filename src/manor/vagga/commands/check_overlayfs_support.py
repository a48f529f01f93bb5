"""`_check_overlayfs_support`: can layers be overlay mounts in this base directory?"""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    from manor.vagga.cleaning import widest_maps
    from manor.vagga.enclosure import Enclosure
    from manor.vagga.overlay_probe import probe

    store = session.images.store
    store.create()
    maps = widest_maps(session.containers.values())
    answer = Enclosure(maps, lambda channel: probe(store)).wait()
    print("supported" if not answer else f"unsupported: {answer}")
    return 1 if answer else 0
