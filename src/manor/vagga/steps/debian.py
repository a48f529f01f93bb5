"""`!Debian`: the base of Debian, made by mmdebstrap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from manor.config.units import Pattern
from manor.vagga.hasher import Hasher
from manor.vagga.machine import debian_architecture
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest

Word = Annotated[str, Pattern("[a-z0-9][a-z0-9.+-]*", "write small letters and digits, such as `bookworm`")]


class Debian(msgspec.Struct, frozen=True, kw_only=True, tag="Debian"):
    """`!Debian bookworm`, or a mapping. The base is kept in the cache directory for all projects that share it."""

    content: ClassVar[str] = "codename"
    content_or_mapping: ClassVar[bool] = True
    layer: ClassVar[bool] = True

    codename: Word
    arch: Word | None = None
    variant: Literal[
        "extract", "custom", "essential", "apt", "minbase", "buildd", "required", "important", "standard"
    ] = "minbase"
    components: tuple[Word, ...] = ("main",)
    updates: bool = True
    mirror: str | None = None

    def __problems__(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if self.variant in ("extract", "custom", "essential"):
            yield ("variant",), f"`{self.variant}` holds no package manager; use `apt`, `minbase` or a larger one"
        if not self.components:
            yield ("components",), "no component is given; write at least `main`"
        if self.mirror is not None and not self.mirror.startswith(("http://", "https://")):
            yield ("mirror",), f"`{self.mirror}` is no address of a mirror; begin with http:// or https://"

    @property
    def architecture(self) -> str:
        return self.arch or debian_architecture()

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        into.add("codename", self.codename)
        into.add("arch", self.architecture)
        into.add("variant", self.variant)
        into.add("components", self.components)
        into.add("updates", self.updates)
        if self.mirror is not None:
            into.add("mirror", self.mirror)

    def build(self, guest: Guest) -> None:
        from manor.vagga.packages.debian_base import install_base

        install_base(guest, self)

    @property
    def title(self) -> str:
        return titled(self, self.codename)
