"""`!BuildDeps`: packages of the distribution that are removed at the end of the build."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class BuildDeps(msgspec.Struct, frozen=True, tag="BuildDeps"):
    """Those that a step installs on request, before or after, stay."""

    content: ClassVar[str] = "packages"
    layer: ClassVar[bool] = True

    packages: str | tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.packages,) if isinstance(self.packages, str) else self.packages

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("packages", self.names)

    def build(self, guest: Guest) -> None:
        guest.packages().install_for_build(self.names)

    @property
    def title(self) -> str:
        return titled(self, " ".join(self.names))
