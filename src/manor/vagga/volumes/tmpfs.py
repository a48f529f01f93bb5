"""`!Tmpfs`: memory, new for each process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from manor.config.units import Mode, Range, Size
from manor.vagga.paths import ProjectPath

if TYPE_CHECKING:
    from manor.vagga.stage import Stage

MIB = 1 << 20


class Subdirectory(msgspec.Struct, frozen=True, kw_only=True):
    """A directory made in a new tmpfs."""

    mode: Annotated[Mode, Range(0, 0o1777)] = 0o755


class Tmpfs(msgspec.Struct, frozen=True, kw_only=True, tag="Tmpfs"):
    """Subdirectories are made in the order of their paths, then files, mode 0644."""

    directory: ClassVar[bool | None] = True

    size: Annotated[Size, Range(1)] = 100 * MIB
    mode: Annotated[Mode, Range(0, 0o1777)] = 0o1777
    subdirs: dict[ProjectPath, Subdirectory] = {}
    files: dict[ProjectPath, str | None] = {}

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for path in self.files:
            parent = os.path.dirname(path)
            if parent and parent not in self.subdirs:
                yield ("files", path), f"`{path}` has no directory; add `{parent}` to `subdirs`"

    def mount(self, stage: Stage, at: str) -> None:
        place = stage.mount_tmpfs(at, size=self.size, mode=self.mode)
        for path, directory in sorted(self.subdirs.items()):
            (place / path).mkdir(parents=True, exist_ok=True)
            (place / path).chmod(directory.mode)
        for path, text in self.files.items():
            (place / path).write_text(text or "")
            (place / path).chmod(0o644)

    def source(self, stage: Stage) -> str | None:
        return None


DEFAULT_TMP = Tmpfs(size=100 * MIB, mode=0o1777)
DEFAULT_RUN = Tmpfs(size=100 * MIB, mode=0o755, subdirs={"shm": Subdirectory(mode=0o1777)})
