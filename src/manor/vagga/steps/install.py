"""`!Install`: packages of the distribution that stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Install(msgspec.Struct, frozen=True, tag="Install"):
    """What is installed on request is no longer a build dependency, whoever wanted it as one."""

    content: ClassVar[str] = "packages"
    layer: ClassVar[bool] = True

    packages: str | tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.packages,) if isinstance(self.packages, str) else self.packages

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("packages", self.names)

    def build(self, guest: Guest) -> None:
        guest.packages().install(self.names)

    @property
    def title(self) -> str:
        return titled(self, " ".join(self.names))
