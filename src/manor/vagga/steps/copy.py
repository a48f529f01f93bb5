"""`!Copy`: files of the project, or of earlier steps, into the image."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from manor.config.units import Mode, Range
from manor.vagga.hasher import Field, Hasher
from manor.vagga.paths import InsidePath, below_work, normal
from manor.vagga.steps.interface import Inputs, titled
from manor.vagga.steps.selecting import Selecting

if TYPE_CHECKING:
    from manor.vagga.guest import Guest
    from manor.vagga.versioned import Found

ID_MAX: Final = 2**32 - 2
Id = Annotated[int, Range(0, ID_MAX)]


class Copy(Selecting, frozen=True, kw_only=True, tag="Copy"):
    """A file, link or tree. What lies in /work is versioned by content; elsewhere only these words count."""

    layer: ClassVar[bool] = True

    source: InsidePath
    path: InsidePath
    owner_uid: Id | None = None
    owner_gid: Id | None = None
    umask: Annotated[Mode, Range(0, 0o777)] = 0o002
    preserve_permissions: bool = False
    preserve_times: bool = False

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from self.selection_problems()

    def mode_of(self, found: Found) -> int:
        """The mode a copied file or directory gets."""
        mode = stat.S_IMODE(found.stat.st_mode)
        if self.preserve_permissions:
            return mode
        return (0o777 if found.is_directory or mode & 0o100 else 0o666) & ~self.umask

    def owner_of(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner it gets, from the one it has (as seen inside)."""
        return (uid if self.owner_uid is None else self.owner_uid, gid if self.owner_gid is None else self.owner_gid)

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        in_project = below_work(self.source)
        if in_project is None:
            into.add("source", normal(self.source))
            into.add("selection", self.selection_fields())
            into.add("owner", [self.owner_uid, self.owner_gid])
            into.add("umask", self.umask)
            into.add("preserve-permissions", self.preserve_permissions)
        else:
            self._fingerprint_files(into, inputs, in_project)
        into.add("path", normal(self.path))
        if self.preserve_times:
            into.add("preserve-times", True)

    def _fingerprint_files(self, into: Hasher, inputs: Inputs, in_project: str) -> None:
        files = inputs.files
        for found in files.select(in_project, self.selection()):
            place = normal(f"{self.path}/{found.path}")
            fields: list[Field] = [place, *self.owner_of(*files.owner(found))]
            if not found.is_link:
                fields.append(self.mode_of(found))
            if not found.is_directory:
                fields.append(files.content(found))
            into.add("file", fields)

    def build(self, guest: Guest) -> None:
        from manor.vagga.copying import copy_tree

        copy_tree(guest, self)

    @property
    def title(self) -> str:
        return titled(self, f"{self.source} to {self.path}")
