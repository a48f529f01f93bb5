"""`!Depends`: let the version depend on files of the project that other steps use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from manor.vagga.hasher import Field, Hasher
from manor.vagga.paths import ProjectPath
from manor.vagga.steps.interface import Inputs, titled
from manor.vagga.steps.selecting import Selecting

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class Depends(Selecting, frozen=True, kw_only=True, tag="Depends"):
    """Content, names and execute bits count; modes, owners and times do not."""

    content: ClassVar[str] = "path"
    content_or_mapping: ClassVar[bool] = True
    layer: ClassVar[bool] = False

    path: ProjectPath

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from self.selection_problems()

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        files = inputs.files
        for found in files.select(self.path, self.selection()):
            fields: list[Field] = [found.path]
            if not found.is_directory:
                fields.append(files.content(found))
            if found.is_file:
                fields.append(bool(found.stat.st_mode & 0o100))
            into.add("file", fields)

    def build(self, guest: Guest) -> None:
        """Nothing: what it names is in /work already."""

    @property
    def title(self) -> str:
        return titled(self, self.path)
