"""From layers to a plain directory: the merged view made real, without any mark of overlayfs in it.

Regular files become hard links to those of the layers where the file system is the same, else copies; directories are
always new. The layers are applied from the lowest up. Source of the marks: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from manor.vagga.durable import remove_tree

OPAQUE: Final = "user.overlay.opaque"
OVERLAY_PREFIX: Final = "user.overlay."

Method = Literal["hardlink", "copy"]


@dataclass(slots=True)
class Size:
    """What an image consists of."""

    files: int = 0
    bytes: int = 0


def flatten(diffs: Sequence[Path], into: Path, method: Method = "hardlink") -> Size:
    """Make the new directory `into` from layers, the lowest first."""
    into.mkdir(mode=0o755)
    linked: dict[tuple[int, int], str] = {}  # with copies: links between files of one layer are kept
    for diff in diffs:
        linked.clear()
        _apply(str(diff), str(into), method, linked)
    for directory, _, _ in os.walk(into, topdown=False):
        _restore_times(directory, into, diffs)
    return measure(into)


def measure(root: Path) -> Size:
    """Number of files and their bytes; a file with several names counts once for each."""
    size = Size()
    for directory, _, names in os.walk(root):
        for name in names:
            status = os.lstat(f"{directory}/{name}")
            size.files += 1
            size.bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


def _apply(source: str, target: str, method: Method, linked: dict[tuple[int, int], str]) -> None:
    """Lay one directory of a layer over one of the image."""
    status = os.lstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    _copy_attributes(source, target)
    with os.scandir(source) as entries:
        for entry in entries:
            _apply_entry(entry, f"{target}/{entry.name}", method, linked)


def _apply_entry(entry: os.DirEntry[str], to: str, method: Method, linked: dict[tuple[int, int], str]) -> None:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        remove_tree(Path(to))
    elif stat.S_ISDIR(status.st_mode):
        if _is_opaque(entry.path) or not _is_directory(to):
            remove_tree(Path(to))
            os.mkdir(to, 0o700)
        _apply(entry.path, to, method, linked)
    else:
        _replace(entry.path, to, status, method, linked)


def _replace(source: str, to: str, status: os.stat_result, method: Method, linked: dict[tuple[int, int], str]) -> None:
    if method == "hardlink":
        try:
            os.link(source, to, follow_symlinks=False)
            return
        except FileExistsError:
            remove_tree(Path(to))
            _replace(source, to, status, method, linked)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
    remove_tree(Path(to))
    known = linked.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
    if known is not None:
        os.link(known, to, follow_symlinks=False)
        return
    copy_entry(source, to, status)
    linked[status.st_dev, status.st_ino] = to


def copy_entry(source: str, to: str, status: os.stat_result) -> None:
    """One file or link with owner, mode, times and attributes; sockets and the like are left out."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), to)
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, to, follow_symlinks=False)
    else:
        return
    os.chown(to, status.st_uid, status.st_gid, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        os.chmod(to, stat.S_IMODE(status.st_mode))
        _copy_attributes(source, to)
    os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_attributes(source: str, target: str) -> None:
    for name in os.listxattr(source):
        if not name.startswith(OVERLAY_PREFIX):
            os.setxattr(target, name, os.getxattr(source, name))


def _restore_times(directory: str, root: Path, diffs: Sequence[Path]) -> None:
    """A directory's times are those of the uppermost layer that has it; making its entries has changed them."""
    inner = os.path.relpath(directory, root)
    for diff in reversed(diffs):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(diff / inner)
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
            return


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OPAQUE) == b"y"
    except OSError:
        return False


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
