"""What a volume is: a struct that mounts itself at a place of the staged root."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from manor.vagga.stage import Stage


class Volume(Protocol):
    """One entry of `volumes:`."""

    directory: ClassVar[bool | None]
    """Must the mount point be a directory? None: as the source is."""

    def mount(self, stage: Stage, at: str) -> None:
        """Mount it at an absolute path of the container, whose mount point exists. SetupError when that fails."""
        ...

    def source(self, stage: Stage) -> str | None:
        """The host's file or directory that will be seen, for a mount point of the same kind; None: a directory."""
        ...
