"""What should run on this machine, as the files say at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from manor.lithos.rules.settle import Instance


@dataclass(frozen=True, slots=True)
class Broken:
    """An instance that is configured and may not start. What runs under its name stays."""

    image: str
    config: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Instances by name. frozen: sandboxes of which nothing is started or stopped, and why."""

    instances: Mapping[str, Instance] = field(default_factory=dict)
    broken: Mapping[str, Broken] = field(default_factory=dict)
    frozen: Mapping[str, str] = field(default_factory=dict)
    all_frozen: str | None = None
    sandboxes: int = 0

    def frozen_because(self, sandbox: str) -> str | None:
        return self.all_frozen or self.frozen.get(sandbox)
