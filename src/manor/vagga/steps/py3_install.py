"""`!Py3Install`: Python packages by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.requirements import local_paths
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Py3Install(msgspec.Struct, frozen=True, tag="Py3Install"):
    """Requirement specifications as in a requirements file; a path in the project counts by its content."""

    content: ClassVar[str] = "specs"
    layer: ClassVar[bool] = True

    specs: tuple[str, ...] = ()

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for number, spec in enumerate(self.specs):
            if spec.lstrip().startswith("-"):
                yield ("specs", number), f"`{spec}` is an option; list packages here, and files with `!Py3Requirements`"

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("specs", self.specs)
        local_paths(self.specs, into, inputs.files)

    def build(self, guest: Guest) -> None:
        from manor.vagga.packages.python import install_python_packages

        install_python_packages(guest, list(self.specs))

    @property
    def title(self) -> str:
        return titled(self, " ".join(self.specs))
