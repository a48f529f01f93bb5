"""The volumes a container config can mount. One more kind is one more struct here and one line in VOLUME_KINDS."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec

from manor.config.units import Mode, Range
from manor.lithos.files.ranges import Id
from manor.lithos.files.sandbox import PlainAbsolute

DEFAULT_TMPFS_BYTES: Final = 104_857_600

VolumeMode = Annotated[Mode, Range(0, 0o1777)]


class Readonly(msgspec.Struct, frozen=True, kw_only=True, tag="Readonly"):
    """`!Readonly /virtual/path`"""

    content: ClassVar[str] = "path"
    path: PlainAbsolute


class Persistent(msgspec.Struct, frozen=True, kw_only=True, tag="Persistent"):
    """`!Persistent {path: /db, mkdir: true}`: a directory of the host, writable."""

    path: PlainAbsolute = "/"
    mkdir: bool = False
    mode: VolumeMode = 0o777
    user: Id = 0
    group: Id = 0


class Tmpfs(msgspec.Struct, frozen=True, kw_only=True, tag="Tmpfs"):
    """`!Tmpfs {size: 100Mi}`: new and empty for each container; size 0 is the kernel's default."""

    size: Annotated[int, Range(0, 2**63 - 1)] = DEFAULT_TMPFS_BYTES
    mode: VolumeMode = 0o777


class Statedir(msgspec.Struct, frozen=True, kw_only=True, tag="Statedir"):
    """`!Statedir`: the state dir of the instance, or a directory below it."""

    path: PlainAbsolute = "/"
    mode: VolumeMode = 0o777
    user: Id = 0
    group: Id = 0


Volume = Readonly | Persistent | Tmpfs | Statedir
VOLUME_KINDS: Final = (Readonly, Persistent, Tmpfs, Statedir)
RESERVED_MOUNT_POINTS: Final = frozenset({"/", "/proc", "/sys", "/dev"})


def mount_point_problem(path: str) -> str | None:
    """What is wrong with a mount point as written, or None."""
    if not path.startswith("/"):
        return f"mount point `{path}` is relative; write an absolute path"
    if ".." in path.split("/"):
        return f"mount point `{path}` has `..`; write the path itself"
    if normal(path) in RESERVED_MOUNT_POINTS:
        return f"mount point `{path}` is reserved; mount at another place or below it"
    return None


def normal(path: str) -> str:
    """An absolute path without doubled, trailing or single-dot components."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
