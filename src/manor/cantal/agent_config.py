"""The configuration directory: `agent.yaml`, and the files of kinds that this version cannot do yet.

A bad file is left out with its problems, and the agent runs on; `read_directory` returns both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from manor.cantal.gossip.numbers import GossipNumbers
from manor.cantal.options import ScanOptions
from manor.config.dialect import CANTAL
from manor.config.errors import ConfigError
from manor.config.loader import Document, load_file
from manor.config.units import Check, Duration, Length, Range, Size

log = logging.getLogger(__name__)

OTHER_KINDS: Final = (".carbon.yaml", ".remote-write.yaml", ".scrape.yaml", ".statsd.yaml")
SILENT_SUFFIXES: Final = ("~", ".bak")


def _one_of(*allowed: str) -> Check:
    choices = ", ".join(f"`{word}`" for word in allowed)
    return Check(lambda value: None if value in allowed else f"not known: `{value}`; one of {choices} would be right")


class ScanConfig(msgspec.Struct, frozen=True, kw_only=True):
    per_core: bool = False
    status_every: Annotated[int, Range(1, 60)] = 5
    process_metrics: Annotated[str, _one_of("all", "cgroup", "none")] = "all"
    process_extra: tuple[str, ...] = ()
    include_user_slice: bool = False
    disks_ignore: tuple[str, ...] = ("^(ram|loop)",)
    interfaces_ignore: tuple[str, ...] = ()
    mounts_ignore: tuple[str, ...] = ()


class ValuesConfig(msgspec.Struct, frozen=True, kw_only=True):
    max_series_per_file: Annotated[int, Range(1, 100_000)] = 10_000
    max_series_per_uid: Annotated[int, Range(1, 1_000_000)] = 20_000
    max_series: Annotated[int, Range(1_000, 5_000_000)] = 200_000


class RemoteConfig(msgspec.Struct, frozen=True, kw_only=True):
    subscription_lifetime: Annotated[Duration, Range(1, 86_400)] = 180.0
    idle_close: Annotated[Duration, Range(1, 86_400)] = 60.0
    max_connections: Annotated[int, Range(1, 65_536)] = 4_096


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    max_body: Annotated[Size, Range(4_096, 64 << 20)] = 1 << 20
    allowed_hosts: Annotated[tuple[str, ...], Length(0, 100)] = ()


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`agent.yaml`."""

    scan: ScanConfig = ScanConfig()
    values: ValuesConfig = ValuesConfig()
    gossip: GossipNumbers = GossipNumbers()
    remote: RemoteConfig = RemoteConfig()
    http: HttpConfig = HttpConfig()
    hide_cmdline: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)

    def scan_options(self) -> ScanOptions:
        """What the collector is told of all this."""
        return ScanOptions(
            per_core=self.scan.per_core,
            status_every=self.scan.status_every,
            process_metrics=self.scan.process_metrics,
            include_user_slice=self.scan.include_user_slice,
            disks_ignore=self.scan.disks_ignore,
            interfaces_ignore=self.scan.interfaces_ignore,
            mounts_ignore=self.scan.mounts_ignore,
            max_series_per_file=self.values.max_series_per_file,
            max_series_per_uid=self.values.max_series_per_uid,
            max_series=self.values.max_series,
        )


class Directory(msgspec.Struct, frozen=True):
    """What a configuration directory holds."""

    agent: AgentConfig
    problems: tuple[str, ...]  # one line each, with file, line and column


def read_directory(path: Path, previous: AgentConfig | None = None) -> Directory:
    """Read all files; of a bad `agent.yaml` the previous content counts."""
    agent = AgentConfig()
    problems: list[str] = []
    try:
        names = sorted(entry.name for entry in path.iterdir() if not entry.is_dir())
    except OSError as error:
        log.warning("config.no_directory path=%s reason=%s: going on with the defaults", path, error.strerror)
        return Directory(agent, ())
    for name in names:
        if name.startswith(".") or name.endswith(SILENT_SUFFIXES):
            continue
        file = path / name
        if name == "agent.yaml":
            try:
                document = load_file(file, AgentConfig, CANTAL)
                problems += [str(problem) for problem in _not_supported(document)]
                agent = document.value
            except ConfigError as error:
                problems += str(error).splitlines()
                agent = previous if previous is not None else AgentConfig()
        elif name.endswith(OTHER_KINDS):
            kind = name.split(".", 1)[1].removesuffix(".yaml")
            problems.append(f"{file}:1:1: `{kind}` files are not supported yet; the file is ignored")
        else:
            log.warning("config.unknown_file file=%s: no name of a configuration file", file)
    return Directory(agent, tuple(problems))


def _not_supported(document: Document[AgentConfig]) -> Iterable[Any]:
    if document.value.labels:
        yield document.problem(("labels",), "`labels` is not supported yet; leave it out")
    if document.value.scan.process_extra:
        yield document.problem(("scan", "process-extra"), "`process-extra` is not supported yet; leave it out")
