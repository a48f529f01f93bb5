"""Trying an overlay mount as builds make them."""

from __future__ import annotations

from manor.kernel import mounts
from manor.vagga.durable import remove_tree, temporary
from manor.vagga.store import Store


def probe(store: Store) -> str:
    """Empty when it works, else why not. Runs inside the enclosure."""
    directory = temporary(store.layers / "probe")
    remove_tree(directory)
    for name in ("lower", "diff", "work", "root"):
        (directory / name).mkdir(parents=True)
    try:
        (directory / "lower/file").touch()
        mounts.overlay(
            directory / "root",
            lower=[directory / "lower"],
            upper=directory / "diff",
            work=directory / "work",
            options={"userxattr": None, "volatile": None},
        )
        (directory / "root/file").unlink()  # makes a whiteout, which is what needs the kernel's leave
        mounts.unmount(directory / "root", lazy=True)
        return ""
    except OSError as error:
        return error.strerror or str(error)
    finally:
        remove_tree(directory)
