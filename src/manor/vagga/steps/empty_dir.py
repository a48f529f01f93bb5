"""`!EmptyDir`: empty a directory, now and again at the end of the build."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.paths import InsidePath, normal
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class EmptyDir(msgspec.Struct, frozen=True, tag="EmptyDir"):
    """Made if it is missing; also emptied in containers built on this one."""

    content: ClassVar[str] = "path"
    layer: ClassVar[bool] = True

    path: InsidePath

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("path", normal(self.path))

    def build(self, guest: Guest) -> None:
        guest.refuse_mount_point(self.path)
        guest.make_directory(self.path)
        guest.empty_directory(self.path)
        guest.state.emptied.append(normal(self.path))

    @property
    def title(self) -> str:
        return titled(self, self.path)
