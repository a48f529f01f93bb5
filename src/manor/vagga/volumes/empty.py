"""`!Empty`: nothing, read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from manor.vagga.stage import Stage


class Empty(msgspec.Struct, frozen=True, kw_only=True, tag="Empty"):
    """Covers what is there with an empty directory of mode 0."""

    directory: ClassVar[bool | None] = True

    def mount(self, stage: Stage, at: str) -> None:
        stage.mount_tmpfs(at, size=4096, mode=0, read_only=True)

    def source(self, stage: Stage) -> str | None:
        return None
