"""`!Env`: variables for the steps that follow, also in containers built on this one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Env(msgspec.Struct, frozen=True, tag="Env"):
    """State only; commands do not see these variables."""

    content: ClassVar[str] = "variables"
    layer: ClassVar[bool] = False

    variables: dict[str, str]

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for name in self.variables:
            if not name or "=" in name:
                yield ("variables", name), f"`{name}` is no name of a variable; it must not be empty or hold `=`"

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("variables", self.variables)

    def build(self, guest: Guest) -> None:
        guest.state.environ.update(self.variables)

    @property
    def title(self) -> str:
        return titled(self, " ".join(sorted(self.variables)))
