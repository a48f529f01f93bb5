"""`!Persistent`: a directory kept between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from manor.config.units import Pattern, Range

if TYPE_CHECKING:
    from manor.vagga.stage import Stage

ID_MAX = 2**32 - 2


class Persistent(msgspec.Struct, frozen=True, kw_only=True, tag="Persistent"):
    """One name is one volume, `.volumes/NAME`, for all who use it. Made when first used, with the owner given."""

    content: ClassVar[str] = "name"
    content_or_mapping: ClassVar[bool] = True
    unsupported: ClassVar[tuple[str, ...]] = ("init-command",)
    directory: ClassVar[bool | None] = True

    name: Annotated[str, Pattern("[A-Za-z0-9_][A-Za-z0-9._-]*", "write letters, digits, `.`, `-` and `_`")]
    owner_uid: Annotated[int, Range(0, ID_MAX)] = 0
    owner_gid: Annotated[int, Range(0, ID_MAX)] = 0

    def mount(self, stage: Stage, at: str) -> None:
        stage.bind(str(stage.persistent_volume(self.name, self.owner_uid, self.owner_gid)), at, read_only=False)

    def source(self, stage: Stage) -> str | None:
        return None
