"""The image to push: where it is, how it is called, what it contains.

An image of vagga is the directory `.roots/NAME.HASH/root`, mostly named by the link `.vagga/NAME`; beside it lie
`uid_map` and `gid_map`, and its files may belong to subordinate ids of the user who built it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.delivery.durable import write_file
from manor.delivery.errors import BadUsage, ImageMalformed, NotSupported
from manor.delivery.index import File, Index, Link, build_index, parse_index
from manor.kernel.id_map import IdMap, parse_map

INDEX_NAME: Final = "index.ds1"
ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
SETTLED_NS: Final = 2_000_000_000  # a change within the clock's tick of the last look could go unnoticed


@dataclass(frozen=True, slots=True)
class Source:
    root: Path
    name: str | None  # `NAME.HASH` of a vagga image
    uid_map: IdMap | None  # both or none
    gid_map: IdMap | None

    @property
    def needs_id_map(self) -> bool:
        """Can the caller read it only inside the map? Root reads everything as it is."""
        return self.uid_map is not None and os.geteuid() != 0


def find_source(image: Path) -> Source:
    """Raises BadUsage if there is no directory, NotSupported for an archive."""
    if image.name.endswith(ARCHIVES) and not image.is_dir():
        raise NotSupported(f"{image.name}: pushing an archive")
    try:
        root = image.resolve(strict=True)
    except OSError as error:
        raise BadUsage(f"{image}: {error.strerror}; an image directory or a link to one would be right") from error
    if not root.is_dir():
        raise BadUsage(f"{image}: is no directory; an image directory or a link to one would be right")
    maps = [root.parent / "uid_map", root.parent / "gid_map"]
    if not all(path.is_file() for path in maps):
        return Source(root, None, None, None)
    try:
        uid_map, gid_map = (parse_map(path.read_text()) for path in maps)
    except (ValueError, TypeError) as error:
        raise ImageMalformed(f"{root.parent}: uid_map or gid_map is no id map, three numbers a line") from error
    name = root.parent.name if root.name == "root" else root.name
    return Source(root, name, uid_map, gid_map)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a look at the whole image gave."""

    index: Index
    set_id: int  # files with a set-uid or set-gid bit, which is not carried


def read_contents(root: Path) -> Contents:
    """The index beside the image if it still fits, else a new one.

    Raises:
        ImageMalformed: something in it that no image has.
        OSError: something cannot be read.
    """
    return Contents(known_index(root) or build_index(root), count_set_id(root))


def known_index(root: Path) -> Index | None:
    """The index beside the image, if nothing in the image was changed since it was made."""
    beside = root.parent / INDEX_NAME
    try:
        made_ns = beside.stat().st_mtime_ns
        index = parse_index(beside.read_bytes())
        return index if _fits(root, index, made_ns - SETTLED_NS) else None
    except (OSError, ImageMalformed):
        return None


def keep_index(root: Path, index: Index, *, began_ns: int) -> None:
    """Leave the index beside an image of vagga, dated with the moment at which it was true."""
    beside = root.parent / INDEX_NAME
    with contextlib.suppress(OSError):  # it only saves time, and not everybody may write there
        write_file(beside, index.to_bytes())
        os.utime(beside, ns=(began_ns, began_ns))


def count_set_id(root: Path) -> int:
    """Files with a set-uid or set-gid bit, which are not carried."""
    found = 0
    for folder, _folders, files in os.walk(root):
        for file in files:
            with contextlib.suppress(OSError):
                mode = os.lstat(os.path.join(folder, file)).st_mode
                found += stat.S_ISREG(mode) and bool(mode & (stat.S_ISUID | stat.S_ISGID))
    return found


def _fits(root: Path, index: Index, before_ns: int) -> bool:
    """Same paths, kinds, sizes, execute bits and targets, and no inode changed since."""
    expected = index.entries()
    seen = 0
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        full = os.path.join(os.fsencode(root), path)
        if path not in expected or expected[path] is not None or os.lstat(full).st_ctime_ns >= before_ns:
            return False
        seen += 1
        for name in os.listdir(full):
            below = path + b"/" + name if path else name
            if below not in expected:
                return False
            if expected[below] is None:
                waiting.append(below)
                continue
            if not _entry_fits(os.path.join(full, name), expected[below], before_ns):
                return False
            seen += 1
    return seen == len(expected)


def _entry_fits(path: bytes, entry: File | Link | None, before_ns: int) -> bool:
    status = os.lstat(path)
    if status.st_ctime_ns >= before_ns:
        return False
    if isinstance(entry, Link):
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == entry.target
    if isinstance(entry, File):
        executable = bool(status.st_mode & 0o111)
        return stat.S_ISREG(status.st_mode) and status.st_size == entry.size and executable == entry.executable
    return False
