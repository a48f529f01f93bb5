"""`!Sh`: run a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Sh(msgspec.Struct, frozen=True, tag="Sh"):
    """`/bin/sh -exc SCRIPT` in /work. What it does outside of the image is not repeated when its layer is reused."""

    content: ClassVar[str] = "script"
    layer: ClassVar[bool] = True

    script: str

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("script", self.script)

    def build(self, guest: Guest) -> None:
        guest.run(["/bin/sh", "-exc", self.script])

    @property
    def title(self) -> str:
        return titled(self, self.script)
