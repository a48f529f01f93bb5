"""`!Container`: build on the finished image of another container."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Container(msgspec.Struct, frozen=True, tag="Container"):
    """Its files and its state; none of its options but `setup`. The builder takes over its layers, no copy is made."""

    content: ClassVar[str] = "name"
    layer: ClassVar[bool] = False

    name: str

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("version", inputs.version(self.name))

    def build(self, guest: Guest) -> None:
        """Nothing: the builder goes on from the layers of that container."""

    @property
    def needs_container(self) -> str:
        """The container that has to be built first."""
        return self.name

    @property
    def title(self) -> str:
        return titled(self, self.name)
