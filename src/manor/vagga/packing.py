"""An image as a tar archive, the same bytes each time: sorted entries, owners as seen inside, whole seconds.

Runs inside the enclosure, where the files can be read and have the owners that belong into the archive.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Final, cast

GZIP_LEVEL: Final = 6
XZ_PRESET: Final = 6
ZSTD_LEVEL: Final = 12
COMPRESSIONS: Final = ("none", "gzip", "bzip2", "xz", "zstd")


def pack(root: Path, to: IO[bytes], compression: str) -> None:
    """Write the archive of an image's root."""
    with (
        _compressor(compression)(to) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, dereference=False) as archive,
    ):
        seen: dict[tuple[int, int], str] = {}
        for path in sorted(_paths(root), key=os.fsencode):
            _add(archive, root, path, seen)


def _paths(root: Path) -> Iterator[str]:
    """`.`, then `./…` of all there is."""
    yield "."
    for directory, names, files in os.walk(root):
        inner = os.path.relpath(directory, root)
        for name in (*names, *files):
            yield f"./{name}" if inner == "." else f"./{inner}/{name}"


def _add(archive: tarfile.TarFile, root: Path, path: str, seen: dict[tuple[int, int], str]) -> None:
    place = root / path
    status = place.lstat()
    entry = tarfile.TarInfo(path)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.uid, entry.gid = status.st_uid, status.st_gid
    entry.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(place)
        archive.addfile(entry)
    elif stat.S_ISFIFO(status.st_mode):
        entry.type = tarfile.FIFOTYPE
        archive.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        first = seen.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            entry.type, entry.linkname = tarfile.LNKTYPE, first
            archive.addfile(entry)
            return
        entry.size = status.st_size
        entry.pax_headers = {f"SCHILY.xattr.{name}": _attribute(place, name) for name in sorted(os.listxattr(place))}
        with place.open("rb") as content:
            archive.addfile(entry, content)


def _attribute(place: Path, name: str) -> str:
    return os.getxattr(place, name).decode("utf-8", "surrogateescape")


def _compressor(name: str) -> Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]]:
    """Fixed parameters, and no time in a header."""
    if name == "gzip":
        import gzip

        return lambda to: cast(
            "AbstractContextManager[IO[bytes]]",
            gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=to, mtime=0),
        )
    if name == "bzip2":
        import bz2

        return lambda to: cast("AbstractContextManager[IO[bytes]]", bz2.BZ2File(to, "wb"))
    if name == "xz":
        import lzma

        return lambda to: cast("AbstractContextManager[IO[bytes]]", lzma.LZMAFile(to, "wb", preset=XZ_PRESET))
    if name == "zstd":
        import zstandard

        return lambda to: cast(
            "AbstractContextManager[IO[bytes]]",
            zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(to, closefd=False),
        )
    return nullcontext
