"""`!PipConfig`: how the Python steps that follow install."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from manor.vagga.hasher import Hasher
from manor.vagga.steps.interface import Inputs, titled

if TYPE_CHECKING:
    from manor.vagga.guest import Guest


class PipConfig(msgspec.Struct, frozen=True, kw_only=True, tag="PipConfig"):
    """Each one replaces the whole configuration; what it does not name has its default again."""

    layer: ClassVar[bool] = False

    dependencies: bool = False
    index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    allow_pre_releases: bool = False
    cache_wheels: bool = True
    install_python: bool = True
    python_exe: str | None = None
    get_pip_args: tuple[str, ...] = ()
    installer: Literal["pip", "uv"] = "pip"

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            into.add(name, value)

    def build(self, guest: Guest) -> None:
        guest.state.pip = self

    @property
    def title(self) -> str:
        return titled(self, f"installer={self.installer}")
