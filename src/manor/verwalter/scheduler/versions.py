"""Versions of a role: their order, which of them can be used, which are kept alive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from manor.verwalter.scheduler.declaration import Resources, Role

_RUN = re.compile(r"[0-9]+|[A-Za-z]+")
_IS_VERSION = re.compile(r"v[0-9]")


@total_ordering
@dataclass(frozen=True, slots=True)
class _Run:
    """A run of digits or of letters; a number is greater than a word."""

    text: str

    def _key(self) -> tuple[int, int, str]:
        return (1, int(self.text), "") if self.text.isdigit() else (0, 0, self.text)

    def __lt__(self, other: _Run) -> bool:
        return self._key() < other._key()


def order_key(version: str) -> tuple[_Run, ...]:
    """Sorts versions: `v2 < v10`, `v1 < v1.0`, `v0.9.4-dirty < v0.9.4-10-g93e889d-dirty`."""
    return tuple(_Run(text) for text in _RUN.findall(version.removeprefix("v")))


@dataclass(frozen=True, slots=True)
class Process:
    """A daemon or command of one version."""

    image: str
    config: str
    resources: Resources | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A usable version: all that the role declares is in its metadata."""

    name: str
    daemons: Mapping[str, Process]  # by the role's name of the daemon
    commands: Mapping[str, Process]
    timestamp_ms: int | None
    images: tuple[str, ...]
    has_pipeline: bool  # some process asks for an update of its own kind


@dataclass(frozen=True, slots=True)
class Versions:
    """What `runtime/ROLE` offers."""

    usable: Mapping[str, Version]
    bad: Mapping[str, str]  # version -> why not

    @property
    def newest_first(self) -> list[str]:
        return sorted(self.usable, key=lambda name: (order_key(name), name), reverse=True)


class _Unusable(Exception):
    pass


def read_versions(role: Role, metadata: object) -> Versions:
    """Sort the metadata of a role into usable and bad versions. Other names beside versions are parameters."""
    usable: dict[str, Version] = {}
    bad: dict[str, str] = {}
    for name, value in sorted(metadata.items()) if isinstance(metadata, Mapping) else ():
        if not _IS_VERSION.match(name):
            continue
        try:
            usable[name] = _read_version(role, name, value)
        except _Unusable as error:
            bad[name] = str(error)
    return Versions(usable, bad)


def _read_version(role: Role, name: str, value: object) -> Version:
    whole = _mapping(value, "the metadata")
    kinds = {kind: _mapping(whole.get(kind) or {}, f"`{kind}`") for kind in ("daemons", "commands", "containers")}
    daemons = {key: _process(kinds["daemons"], "daemons", daemon.source or key) for key, daemon in role.daemons.items()}
    commands = {
        key: _process(kinds["commands"], "commands", command.source or key) for key, command in role.commands.items()
    }
    processes = [*kinds["daemons"].values(), *kinds["commands"].values()]
    listed = [process.get("image") for process in processes if isinstance(process, Mapping)]
    images = {image for image in [*listed, *kinds["containers"].values()] if isinstance(image, str)}
    return Version(
        name=name,
        daemons=daemons,
        commands=commands,
        timestamp_ms=_timestamp_ms(whole.get("timestamp")),
        images=tuple(sorted(images)),
        has_pipeline=any(isinstance(process, Mapping) and "update" in process for process in processes),
    )


def _process(known: Mapping[str, Any], kind: str, source: str) -> Process:
    if source not in known:
        raise _Unusable(f"`{kind}.{source}` is missing")
    value = _mapping(known[source], f"`{kind}.{source}`")
    texts = {}
    for option in ("image", "config"):
        if not isinstance(value.get(option), str):
            raise _Unusable(f"`{kind}.{source}.{option}` is not a text")
        texts[option] = value[option]
    needs = value.get("resources")
    if needs is None:
        return Process(**texts)
    needs = _mapping(needs, f"`{kind}.{source}.resources`")
    amounts = {key: needs[key] for key in ("cpu", "memory", "slots") if key in needs}
    if any(isinstance(amount, bool) or not isinstance(amount, int | float) for amount in amounts.values()):
        raise _Unusable(f"`{kind}.{source}.resources` holds something that is not a number")
    return Process(**texts, resources=Resources(**amounts))


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unusable(f"{what} is not a mapping")
    return value


def _timestamp_ms(value: object) -> int | None:
    """Seconds since 1970, as a number or as a text that is one."""
    try:
        return int(float(value) * 1000) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def alive(
    versions: Versions, role: Role, *, named: Iterable[str | None], last_deployed: Mapping[str, int], now: int
) -> list[str]:
    """Versions whose images every node should keep, newest first.

    Args:
        named: the current version, source and target of an update; None is skipped.
        last_deployed: version -> when it stopped being the current one, ms.
    """
    newest = versions.newest_first
    since = now - int(role.keep_for * 1000)
    keep = {*newest[: role.keep_versions], *named}
    keep |= {name for name, at in last_deployed.items() if at >= since}
    if last_deployed:
        keep.add(max(last_deployed, key=lambda name: (last_deployed[name], name)))
    keep |= {name for name in newest if (versions.usable[name].timestamp_ms or 0) >= since}
    return [name for name in newest if name in keep]
