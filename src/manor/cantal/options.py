"""What a collector needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """The `scan.*` and `values.*` options of agent.yaml; whoever reads that file has checked the ranges."""

    per_core: bool = False
    status_every: int = 5
    process_metrics: str = "all"
    include_user_slice: bool = False
    disks_ignore: tuple[str, ...] = ("^(ram|loop)",)
    interfaces_ignore: tuple[str, ...] = ()
    mounts_ignore: tuple[str, ...] = ()
    max_series_per_file: int = 10_000
    max_series_per_uid: int = 20_000
    max_series: int = 200_000


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """Paths, rhythm, and what to look at."""

    interval_ms: int = 2_000
    keep_history_ms: int = 3_600_000
    proc_root: Path = Path("/proc")
    sys_root: Path = Path("/sys")
    storage_dir: Path | None = None  # made, locked and used if given
    hide_cmdline: bool = False
    scan: ScanOptions = field(default_factory=ScanOptions)
