"""status.json: what runs and is ready, for verwalter and others. Fields are only added while version is 1."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

STATUS_VERSION: Final = 1
STATUS_BYTES_MAX: Final = 16 * 2**20  # 100,000 instances are far below

InstanceState = Literal["starting", "ready", "unhealthy", "stopping", "waiting", "broken"]


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. Times in ms since 1970; ports: host-bound port -> descriptor in the process."""

    name: str
    image: str
    config: str
    state: InstanceState
    since: int
    pid: int | None
    restarts: int
    ports: dict[str, int]
    address: str | None = None
    error: str | None = None


class MasterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file; instances by name."""

    version: int = STATUS_VERSION
    written: int
    boot_id: str
    master: int
    instances: tuple[InstanceStatus, ...]


def read_status(path: Path) -> MasterStatus | None:
    """The last published status, or None when no master has published one. Raises ValueError on anything else."""
    try:
        with open(path, "rb") as file:
            text = file.read(STATUS_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(text) > STATUS_BYTES_MAX:
        raise ValueError(f"{path}: larger than {STATUS_BYTES_MAX} bytes")
    try:
        status = msgspec.json.decode(text, type=MasterStatus)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    if status.version != STATUS_VERSION:
        raise ValueError(f"{path}: version {status.version}; this program reads version {STATUS_VERSION}")
    return status
