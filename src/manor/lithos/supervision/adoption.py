"""What becomes of a container that already runs, when a master starts: a pure table of names and instance configs."""

from __future__ import annotations

from enum import Enum

from manor.lithos.files.names import InstanceName
from manor.lithos.supervision.desired import Desired


class Fate(Enum):
    KEEP = "keep"
    UPGRADE = "upgrade"  # stop now, start the new one when it is gone
    RETIRE = "retire"  # stop now


def fate(name: str, config: str, desired: Desired) -> Fate:
    """Only the instance config is compared: nothing else that changed restarts anything."""
    wanted = desired.instances.get(name)
    if wanted is not None:
        return Fate.KEEP if wanted.config == config else Fate.UPGRADE
    if name in desired.broken or desired.frozen_because(InstanceName.parse(name).sandbox) is not None:
        return Fate.KEEP
    return Fate.RETIRE
