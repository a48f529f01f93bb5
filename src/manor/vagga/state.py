"""What steps hand on to later steps besides files; kept beside every layer, so that a reused one brings it back."""

from __future__ import annotations

import msgspec

from manor.vagga.steps.pip_config import PipConfig


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Which system the root is."""

    name: str  # debian
    codename: str
    architecture: str


class BuildState(msgspec.Struct, kw_only=True):
    """Mutable while a build goes on; `copy` before it is kept.

    Attributes:
        epoch: times later than this become this; None before a base step has said.
        removed: paths of `!Remove`; likewise `emptied`, `ensured`.
        pythons: interpreters that packages were installed for: each gets its list beside the image.
    """

    distribution: Distribution | None = None
    environ: dict[str, str] = {}
    epoch: int | None = None
    requested: list[str] = []
    build_dependencies: list[str] = []
    pip: PipConfig = PipConfig()
    pythons: list[str] = []
    removed: list[str] = []
    emptied: list[str] = []
    ensured: list[str] = []

    def copy(self) -> BuildState:
        return msgspec.json.decode(msgspec.json.encode(self), type=BuildState)

    @property
    def epoch_or_default(self) -> int:
        return 1 if self.epoch is None else self.epoch
