"""`!CacheDir`: a directory of the cache, writable."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from manor.vagga.stage import Stage


class CacheDir(msgspec.Struct, frozen=True, tag="CacheDir"):
    """Made if it is missing; shared by all who name it, and by other projects if the cache is."""

    content: ClassVar[str] = "name"
    directory: ClassVar[bool | None] = True

    name: str

    def mount(self, stage: Stage, at: str) -> None:
        stage.bind(str(stage.cache_directory(self.name)), at, read_only=False)

    def source(self, stage: Stage) -> str | None:
        return None
