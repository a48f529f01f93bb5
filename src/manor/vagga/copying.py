"""The work of `!Copy` and `!Build`: putting a selection of files into the root."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.kernel import inside
from manor.vagga.durable import remove_tree
from manor.vagga.errors import PreparationError
from manor.vagga.flatten import copy_entry
from manor.vagga.paths import below_work, normal
from manor.vagga.selection import parse_rules
from manor.vagga.versioned import Found, walk

if TYPE_CHECKING:
    from manor.vagga.guest import Guest
    from manor.vagga.steps.build import Build
    from manor.vagga.steps.copy import Copy

COPIED_AT: Final = 1  # seconds: the time of what was copied, so that it does not differ from build to build


def copy_tree(guest: Guest, step: Copy) -> None:
    """`!Copy`."""
    in_project = below_work(step.source)
    guest.mount()
    source = _existing(guest, step.source) if in_project is None else guest.project / in_project
    try:
        found = walk(source, step.selection())
    except FileNotFoundError:
        raise PreparationError(f"`{step.source}` does not exist") from None
    top = _prepared(guest, step.path, is_directory=found[0].is_directory)
    for entry in found:
        _check(entry)
        place = top / entry.path if entry.path else top
        was_there = _lay(entry, place)
        if entry.is_directory and was_there:
            continue
        os.chown(place, *step.owner_of(*_owner(entry)), follow_symlinks=False)
        if not entry.is_link:
            os.chmod(place, step.mode_of(entry))
    for entry in reversed(found):  # a directory after what is in it
        place = top / entry.path if entry.path else top
        if step.preserve_times:
            os.utime(place, ns=(entry.stat.st_atime_ns, entry.stat.st_mtime_ns), follow_symlinks=False)
        elif not entry.is_directory:
            os.utime(place, (COPIED_AT, COPIED_AT), follow_symlinks=False)


def copy_from_image(guest: Guest, step: Build) -> None:
    """`!Build`: owners and modes are kept."""
    image = guest.image_of(step.container)
    guest.mount()
    try:
        source = _resolved(image, step.source)
    except OSError:
        raise PreparationError(f"`{step.source}` is not in the image of `{step.container}`") from None
    found = walk(source, parse_rules(step.rules, with_defaults=False))
    top = _prepared(guest, step.path, is_directory=found[0].is_directory)
    for entry in found:
        place = top / entry.path if entry.path else top
        if entry.is_directory:
            if not _lay(entry, place):
                os.chown(place, entry.stat.st_uid, entry.stat.st_gid)
                os.chmod(place, stat.S_IMODE(entry.stat.st_mode))
        else:
            _make_way(place)
            copy_entry(str(entry.host), str(place), entry.stat)
            if os.path.lexists(place):
                os.utime(place, (COPIED_AT, COPIED_AT), follow_symlinks=False)


def _existing(guest: Guest, path: str) -> Path:
    try:
        return guest.host_path(path)
    except OSError:
        raise PreparationError(f"`{path}` does not exist") from None


def _resolved(image: Path, path: str) -> Path:
    """A path of another image; its last part is not followed."""
    if normal(path) == "/":
        return image
    with inside.open_parent_inside(image, path) as (parent, name):
        place = Path(os.readlink(f"/proc/self/fd/{parent}")) / name
    place.lstat()
    return place


def _prepared(guest: Guest, path: str, *, is_directory: bool) -> Path:
    """The destination, with its parents made."""
    if normal(path) == "/":
        return guest.root
    if is_directory:
        guest.make_directory(os.path.dirname(normal(path)))
        if os.path.isdir(guest.host_path(path)):  # also through a link to a directory
            return guest.host_path(path, follow=True)
        return guest.host_path(path)
    guest.make_directory(os.path.dirname(normal(path)))
    return guest.host_path(path)


def _lay(entry: Found, place: Path) -> bool:
    """Put one entry into its place; True when a directory was there already (it keeps mode and owner)."""
    if entry.is_directory:
        if place.is_dir() and not place.is_symlink():
            return True
        _make_way(place)
        place.mkdir(0o700)
        return False
    _make_way(place)
    if entry.is_link:
        place.symlink_to(os.readlink(entry.host))
    else:
        shutil.copyfile(entry.host, place, follow_symlinks=False)
    return False


def _make_way(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        raise PreparationError(f"the directory `{place.name}` is in the way of a file of that name")
    remove_tree(place)


def _owner(entry: Found) -> tuple[int, int]:
    """As seen inside; the build runs inside, so this is what stat says."""
    return entry.stat.st_uid, entry.stat.st_gid


def _check(entry: Found) -> None:
    try:
        os.fsencode(entry.path).decode()
    except UnicodeDecodeError:
        raise PreparationError(f"the name of {os.fsencode(entry.host)!r} is not UTF-8; rename the file") from None
    if not (entry.is_directory or entry.is_link or entry.is_file):
        raise PreparationError(f"{entry.host} is neither file, link nor directory; leave it out of the selection")
