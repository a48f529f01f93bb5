"""Mounting, unmounting, and reading what is mounted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.kernel import syscalls

# sys/mount.h
MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_MOVE: Final = 0x2000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MS_SLAVE: Final = 0x8_0000
MS_SHARED: Final = 0x10_0000

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY: Final = 0x1

_DATA_BYTES_MAX: Final = os.sysconf("SC_PAGE_SIZE") - 1  # mount(2) copies one page of options, with its closing zero


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/PID/mountinfo. Source: proc_pid_mountinfo(5)."""

    id: int
    parent: int
    device: str  # "major:minor"
    root: str  # what of the file system is mounted
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]  # "shared:N", "master:N", ...; empty: private
    fstype: str
    source: str
    super_options: tuple[str, ...]


def mount(source: str | Path, target: str | Path, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2). `data` are the file system's own options, separated by commas."""
    result = syscalls.libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    syscalls.check(result, target)


def bind(source: str | Path, target: str | Path, *, read_only: bool = False, recursive: bool = True) -> None:
    """Show a file or directory at another place as well. Read-only holds for all mounts that come along."""
    mount(source, target, "none", MS_BIND | (MS_REC if recursive else 0))
    if not read_only:
        return
    try:
        _set_read_only(target, recursive=recursive)
    except OSError:
        unmount(target, lazy=True)
        raise


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h"""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def _set_read_only(target: str | Path, *, recursive: bool) -> None:
    """mount_setattr(2) and not MS_REMOUNT: that reaches one mount only, and clears what a user namespace has locked."""
    attributes = _MountAttributes(attr_set=_MOUNT_ATTR_RDONLY)
    syscalls.syscall(
        syscalls.MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(target),
        _AT_RECURSIVE if recursive else 0,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
        name=os.fspath(target),
    )


def overlay(
    target: str | Path,
    *,
    lower: Sequence[Path],
    upper: Path | None = None,
    work: Path | None = None,
    options: Mapping[str, str | None] = {},
) -> None:
    """Mount an overlay; `lower` from the uppermost to the lowest. Without `upper` and `work` it is read-only.

    `options` are further ones of overlayfs, for instance {"userxattr": None} in a user namespace.
    """
    if (upper is None) != (work is None):
        raise ValueError("an overlay has an upper directory and a work directory, or none of the two")
    with contextlib.ExitStack() as stack:
        data = _overlay_data(lower, upper, work, options)
        if len(data.encode()) > _DATA_BYTES_MAX:  # many layers: name them by short paths through descriptors
            short = stack.enter_context(_by_descriptor(lower))
            data = _overlay_data(short, upper, work, options)
        mount("overlay", target, "overlay", 0, data)


def _overlay_data(
    lower: Sequence[Path], upper: Path | None, work: Path | None, options: Mapping[str, str | None]
) -> str:
    words = [name if value is None else f"{name}={value}" for name, value in options.items()]
    words.append("lowerdir=" + ":".join(map(_escaped, lower)))
    if upper is not None and work is not None:
        words += [f"upperdir={_escaped(upper)}", f"workdir={_escaped(work)}"]
    return ",".join(words)


def _escaped(path: Path) -> str:
    """A backslash before what overlayfs would take for the end of a path."""
    return re.sub(r"([\\:,])", r"\\\1", str(path))


@contextlib.contextmanager
def _by_descriptor(paths: Sequence[Path]) -> Iterator[list[Path]]:
    fds: list[int] = []
    try:
        for path in paths:
            fds.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        yield [Path(f"/proc/self/fd/{fd}") for fd in fds]
    finally:
        for fd in fds:
            os.close(fd)


def unmount(target: str | Path, *, lazy: bool = False) -> None:
    """Unmount; a symbolic link is not followed. Lazy: out of sight at once, gone when the last user is."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
    syscalls.check(syscalls.libc.umount2(os.fsencode(target), flags), target)


def make_private(path: str | Path, *, recursive: bool = True) -> None:
    """Mounts below neither reach other namespaces any more nor come from there."""
    mount("none", path, "none", MS_PRIVATE | (MS_REC if recursive else 0))


def make_slave(path: str | Path, *, recursive: bool = True) -> None:
    """Mounts below come from other namespaces, but reach them no more."""
    mount("none", path, "none", MS_SLAVE | (MS_REC if recursive else 0))


def pivot_root(new_root: str | Path, put_old: str | Path | None = None) -> None:
    """Make a mount point the root of this mount namespace and move to `/`.

    The old root stays mounted at `put_old`, a directory below the new one; without it, it is let go.
    """
    if put_old is not None:
        syscalls.check(syscalls.libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), new_root, put_old)
        os.chdir("/")
        return
    os.chdir(new_root)
    # The old root comes to lie over the new one and is unmounted from there: no directory is needed (pivot_root(2)).
    syscalls.check(syscalls.libc.pivot_root(b".", b"."), new_root)
    unmount(".", lazy=True)
    os.chdir("/")


def read_mounts(pid: int | str = "self") -> list[Mount]:
    """What a process sees mounted, in the order of mounting."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [parse_mount(line) for line in file]


def is_mount_point(path: str | Path) -> bool:
    """Is something mounted exactly here? os.path.ismount does not see bind mounts of files."""
    wanted = os.path.realpath(path)
    return any(m.target == wanted for m in read_mounts())


def parse_mount(line: str) -> Mount:
    """One line of mountinfo: six fields, optional ones up to a `-`, three more."""
    words = line.rstrip("\n").split(" ")
    dash = words.index("-", 6)
    fstype, source, super_options = words[dash + 1 : dash + 4]
    return Mount(
        id=int(words[0]),
        parent=int(words[1]),
        device=words[2],
        root=_unescaped(words[3]),
        target=_unescaped(words[4]),
        options=tuple(words[5].split(",")),
        propagation=tuple(words[6:dash]),
        fstype=fstype,
        source=_unescaped(source),
        super_options=tuple(super_options.split(",")),
    )


def _unescaped(field: str) -> str:
    r"""The kernel writes blank, tab, newline and backslash as \ooo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
