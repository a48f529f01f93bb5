"""`!Build`: take files from the image of another container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.paths import InsidePath, normal
from manor.vagga.selection import parse_rules
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Build(msgspec.Struct, frozen=True, kw_only=True, tag="Build"):
    """Owners and modes are kept; nothing else of the other container plays a part."""

    layer: ClassVar[bool] = True
    unsupported: ClassVar[tuple[str, ...]] = ("temporary-mount", "content-hash")

    container: str
    path: InsidePath
    source: InsidePath = "/"
    rules: tuple[str, ...] = ()

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        try:
            parse_rules(self.rules, with_defaults=False)
        except ValueError as error:
            yield ("rules",), str(error)

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("version", inputs.version(self.container))
        into.add("source", normal(self.source))
        into.add("path", normal(self.path))
        into.add("rules", self.rules)

    def build(self, guest: Guest) -> None:
        from manor.vagga.copying import copy_from_image

        copy_from_image(guest, self)

    @property
    def needs_container(self) -> str:
        """The container that has to be built first."""
        return self.container

    @property
    def title(self) -> str:
        return titled(self, f"{self.container} {self.source}")
