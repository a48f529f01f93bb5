"""`verwalter.yaml` and the flags that win over it. Every key of the file with its default stands here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.loader import ConfigError, load_file
from manor.config.units import AbsolutePath, Check, Duration, Length, Pattern, Range, Size
from manor.verwalter.election.numbers import ElectionNumbers, NumbersContradict

PORT: Final = 8379
KIB: Final = 1024
MIB: Final = 1024 * KIB

Port = Annotated[int, Range(1, 65535)]
Name = Annotated[str, Pattern(r"[A-Za-z0-9_.-]{1,32}", "letters, digits, `_`, `.` and `-`, at most 32, would be right")]
HostName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", "a host name would be right")]
DirectoryName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "the name of a directory would be right")]


def _positive(value: float) -> str | None:
    return None if value > 0 else f"{value:.15g} seconds; more than zero would be right"


Time = Annotated[Duration, Check(_positive)]
TimeRange = Annotated[tuple[Time, ...], Length(2, 2)]


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all mappings of the file have in common."""


class Lithos(_Options, frozen=True, kw_only=True):
    master: AbsolutePath = "/etc/lithos/master.yaml"


class DataCentre(_Options, frozen=True, kw_only=True):
    name: Name = "local"
    seeds: dict[str, Any] = {}
    max_lend: int = 30


class Scheduler(_Options, frozen=True, kw_only=True):
    active: DirectoryName | None = None
    shadow: tuple[str, ...] = ()
    round_interval: Annotated[Duration, Range(1, 300)] = 5.0
    timeout: Time = 5.0
    memory: Size = 256 * MIB
    instructions: Size = 500_000_000
    fuel: Size = 5_000_000_000
    user: str = "nobody"
    shadow_parents: Literal["own", "active"] = "own"
    load_timeout: Time = 10.0
    fail_limit: Time = 300.0
    max_schedule: Size = 32 * MIB


class ElectionTimes(_Options, frozen=True, kw_only=True):
    """Ranges are lists of two."""

    start_timeout: Time = 5.0
    message_timeout: TimeRange = (1.6, 4.0)
    heartbeat: Time = 0.5
    election_timeout: TimeRange = (0.5, 1.0)
    election_timeout_max: Time = 8.0
    sticky: Time = 1.2
    quorum_window: Time = 1.6
    quorum_lost: Time = 8.0
    overslept: Time = 4.0
    refresh: Time = 1.0
    hosts_fresh: Time = 5.0
    unresponsive_after: Time = 75.0
    resign_penalty: Time = 60.0
    resign_penalty_max: Time = 900.0

    def numbers(self) -> ElectionNumbers:
        """Raises NumbersContradict."""
        return ElectionNumbers(
            start_timeout_s=self.start_timeout,
            message_timeout_s=(self.message_timeout[0], self.message_timeout[1]),
            heartbeat_s=self.heartbeat,
            election_timeout_s=(self.election_timeout[0], self.election_timeout[1]),
            election_timeout_max_s=self.election_timeout_max,
            sticky_s=self.sticky,
            quorum_window_s=self.quorum_window,
            quorum_lost_s=self.quorum_lost,
            overslept_s=self.overslept,
            resign_penalty_s=self.resign_penalty,
            resign_penalty_max_s=self.resign_penalty_max,
        )

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        try:
            self.numbers()
        except NumbersContradict as error:
            yield (), str(error).removeprefix("election: ")


class FetchTimes(_Options, frozen=True, kw_only=True):
    prefetch_min: Time = 5.0
    prefetch_max: Time = 60.0


class Render(_Options, frozen=True, kw_only=True):
    timeout: Time = 180.0
    command_timeout: Time = 120.0
    retry: Time = 30.0
    retry_max: Time = 600.0
    all_roles: bool = False


class Logs(_Options, frozen=True, kw_only=True):
    max_segment: Size = 10 * MIB
    keep_segments: Annotated[int, Range(1, 10_000)] = 20
    keep_index_days: Annotated[int, Range(1, 10_000)] = 30


class Backups(_Options, frozen=True, kw_only=True):
    hourly: int = 36
    daily: int = 14
    weekly: int = 12


class History(_Options, frozen=True, kw_only=True):
    keep: int = 2000
    max_size: Size = 1024 * MIB


class Jobs(_Options, frozen=True, kw_only=True):
    enabled: bool = True
    max_parallel: Annotated[int, Range(1, 1000)] = 4


class Delivery(_Options, frozen=True, kw_only=True):
    keep_recent: Time = 7200.0
    clean: bool = False
    catch_up: bool = True
    require_signature: bool = False
    keys: tuple[AbsolutePath, ...] = ()


class Tls(_Options, frozen=True, kw_only=True):
    cert: AbsolutePath | None = None
    key: AbsolutePath | None = None
    client_ca: AbsolutePath | None = None
    require: bool = True


class Settings(_Options, frozen=True, kw_only=True):
    """The whole file. An option that this version does not carry out yet is refused where it is set."""

    host: str = "127.0.0.1"
    port: Port = PORT
    name: HostName | None = None
    hostname: HostName | None = None
    use_sudo: bool = False
    allow_minority_cluster: bool = False
    default_frontend: Name = "common"
    candidate: bool = True
    cluster: Name = "default"
    forget_after: Time | None = None
    allowed_hosts: tuple[str, ...] = ()
    lithos: Lithos = Lithos()
    dc: DataCentre = DataCentre()
    scheduler: Scheduler = Scheduler()
    election: ElectionTimes = ElectionTimes()
    fetch: FetchTimes = FetchTimes()
    render: Render = Render()
    logs: Logs = Logs()
    backups: Backups = Backups()
    history: History = History()
    jobs: Jobs = Jobs()
    delivery: Delivery = Delivery()
    tls: Tls = Tls()

    not_yet: ClassVar[tuple[tuple[str, str], ...]] = (
        ("dc", "seeds"),
        ("scheduler", "shadow"),
        ("delivery", "require_signature"),
        ("delivery", "keys"),
        ("delivery", "clean"),
        ("tls", "cert"),
        ("tls", "key"),
        ("tls", "client_ca"),
        ("dc", "max_lend"),
        ("backups", "hourly"),
        ("backups", "daily"),
        ("backups", "weekly"),
        ("history", "keep"),
        ("history", "max_size"),
        ("jobs", "enabled"),
        ("jobs", "max_parallel"),
        ("delivery", "keep_recent"),
        ("delivery", "catch_up"),
    )

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        for part, option in self.not_yet:
            options = getattr(self, part)
            if getattr(options, option) != getattr(type(options)(), option):
                name = f"{part}.{option}".replace("_", "-")
                yield (part, option), f"`{name}` is not supported yet; leave it out"


def read_settings(path: Path, *, must_exist: bool) -> Settings:
    """The file's settings; a file nobody asked for by name may be missing.

    Raises:
        ConfigError: each problem with file, line and column.
    """
    if not must_exist and not path.exists():
        return Settings()
    return load_file(path, Settings, VERWALTER).value


__all__ = ["PORT", "ConfigError", "Settings", "read_settings"]
