"""The end of a build, a layer of its own: what was needed only for building goes, what was promised is there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from manor.kernel import inside
from manor.vagga.config import Container
from manor.vagga.guest import SKELETON, Guest
from manor.vagga.paths import normal

MODES = {"tmp": 0o1777}


def finish(guest: Guest, container: Container, beside: Path) -> None:
    """Bring the root into its final state.

    Args:
        beside: the directory that gets the package lists.
    """
    state = guest.state
    if state.pythons:
        (beside / "pip3-freeze.txt").write_text(_python_packages(guest.root))
    if state.distribution is not None:
        apt = guest.packages()
        apt.remove_build_dependencies()
        guest.finish(succeeded=True)
        apt.clean()
        (beside / "debian-packages.txt").write_bytes(apt.package_list())
    guest.finish(succeeded=True)
    _empty_host_files(guest, container)
    for path in state.removed:
        guest.remove(path)
    for path in (*state.emptied, "/tmp", "/var/tmp"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            guest.empty_directory(path)
    for path in (*state.emptied, *state.ensured):
        os.close(inside.make_directories_inside(guest.root, path))
    for name in SKELETON:
        os.close(inside.make_directories_inside(guest.root, name))
        if not os.path.islink(guest.root / name) and name != "etc":
            _set_mode(guest.root / name, MODES.get(name, 0o755))


def _set_mode(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)


def _empty_host_files(guest: Guest, container: Container) -> None:
    """resolv.conf and hosts are empty regular files; a link is left alone."""
    for path in {"/etc/resolv.conf", "/etc/hosts", container.resolv_conf_path, container.hosts_file_path} - {None}:
        assert path is not None
        os.close(inside.make_directories_inside(guest.root, os.path.dirname(normal(path))))
        place = guest.host_path(path)
        if place.is_symlink() or place.is_dir():
            continue
        if not place.exists() or place.stat().st_size:
            place.unlink(missing_ok=True)
            place.touch(mode=0o644)
            place.chmod(0o644)


def _python_packages(root: Path) -> str:
    """What pip would list, read from the metadata that every installer leaves."""
    found = set()
    for directory in root.glob("usr/local/lib/python3*/dist-packages/*.dist-info"):
        name, _, version = directory.name.removesuffix(".dist-info").rpartition("-")
        found.add(f"{name}=={version}\n")
    return "".join(sorted(found))
