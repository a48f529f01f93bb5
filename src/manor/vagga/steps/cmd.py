"""`!Cmd`: run a program without a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from manor.config.units import Length
from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Cmd(msgspec.Struct, frozen=True, tag="Cmd"):
    """The first word is searched in PATH unless it holds a slash."""

    content: ClassVar[str] = "words"
    layer: ClassVar[bool] = True

    words: Annotated[tuple[str, ...], Length(1)]

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("words", self.words)

    def build(self, guest: Guest) -> None:
        guest.run(self.words)

    @property
    def title(self) -> str:
        return titled(self, " ".join(self.words))
