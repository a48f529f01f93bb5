"""`!BindRW` and `!BindRO`: a file or directory of the project, or one that the settings allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from manor.vagga.paths import InsidePath

if TYPE_CHECKING:
    from manor.vagga.stage import Stage


class BindRW(msgspec.Struct, frozen=True, tag="BindRW"):
    """`/work/…` or `/volumes/NAME[/…]`, writable."""

    content: ClassVar[str] = "path"
    directory: ClassVar[bool | None] = None

    path: InsidePath

    def mount(self, stage: Stage, at: str) -> None:
        stage.bind(self.source(stage), at, read_only=False)

    def source(self, stage: Stage) -> str:
        return str(stage.bind_source(self.path))


class BindRO(msgspec.Struct, frozen=True, tag="BindRO"):
    """`/work/…` or `/volumes/NAME[/…]`, read-only."""

    content: ClassVar[str] = "path"
    directory: ClassVar[bool | None] = None

    path: InsidePath

    def mount(self, stage: Stage, at: str) -> None:
        stage.bind(self.source(stage), at, read_only=True)

    def source(self, stage: Stage) -> str:
        return str(stage.bind_source(self.path))
