"""`!Py3Requirements`: the Python packages of a requirements file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.paths import ProjectPath
from manor.vagga.requirements import expanded_lines, local_paths
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Py3Requirements(msgspec.Struct, frozen=True, tag="Py3Requirements"):
    """The lines count, without comments and blanks, with the files they name in their place."""

    content: ClassVar[str] = "file"
    layer: ClassVar[bool] = True

    file: ProjectPath = "requirements.txt"

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        lines = expanded_lines(self.file, inputs.files.text)
        into.add("lines", lines)
        local_paths(lines, into, inputs.files)

    def build(self, guest: Guest) -> None:
        from manor.vagga.packages.python import install_python_packages

        install_python_packages(guest, ["--requirement", self.file], expanded_lines(self.file, guest.inputs.files.text))

    @property
    def title(self) -> str:
        return titled(self, self.file)
