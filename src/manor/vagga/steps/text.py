"""`!Text`: write files with the given content."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.paths import InsidePath
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Text(msgspec.Struct, frozen=True, tag="Text"):
    """Each file gets mode 0644 and belongs to root; the bytes are those in the YAML."""

    content: ClassVar[str] = "files"
    layer: ClassVar[bool] = True

    files: dict[InsidePath, str]

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("files", self.files)

    def build(self, guest: Guest) -> None:
        for path, content in sorted(self.files.items()):
            guest.write(path, content.encode("utf-8", "surrogateescape"), mode=0o644)

    @property
    def title(self) -> str:
        return titled(self, " ".join(sorted(self.files)))
