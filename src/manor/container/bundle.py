"""An OCI bundle: what a runtime is told about one container. Source: OCI runtime specification 1.0.2, config.md.

Only what vagga and lithos use is here. A field that has its default is left out of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from manor.kernel.id_map import IdMap

OCI_VERSION: Final = "1.0.2"

CONFIG_FILE: Final = "config.json"


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How all structures below are written: camelCase names, defaults left out."""


class User(Part, frozen=True, kw_only=True):
    """Ids as inside the container."""

    uid: int
    gid: int
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class Capabilities(Part, frozen=True, kw_only=True):
    """Names such as `CAP_NET_BIND_SERVICE`; `same` fills all five sets alike."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()

    @classmethod
    def same(cls, names: Iterable[str]) -> Capabilities:
        every = tuple(names)
        return cls(bounding=every, effective=every, inheritable=every, permitted=every, ambient=every)


class Rlimit(Part, frozen=True, kw_only=True):
    """A resource limit, `RLIMIT_NOFILE` and such."""

    type: str
    soft: int
    hard: int


class Process(Part, frozen=True, kw_only=True):
    """What is executed; by itself (process.json) what `exec` puts into a running container.

    Without `capabilities` a runtime gives none; an empty Capabilities says the same aloud.
    """

    args: tuple[str, ...]
    cwd: str
    user: User
    env: tuple[str, ...] = ()
    terminal: bool = False
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class Root(Part, frozen=True, kw_only=True):
    """The root file system: absolute and without symbolic links, else runc refuses it."""

    path: str
    readonly: bool = False


class Mount(Part, frozen=True, kw_only=True):
    """One mount, made in the order of the list. A bind has the option `bind` or `rbind`."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()


class Namespace(Part, frozen=True, kw_only=True):
    """`pid`, `network`, `ipc`, `uts`, `mount`, `user` or `cgroup`: a new one, or that of `path`."""

    type: str
    path: str | None = None


class IdMapping(Part, frozen=True, kw_only=True):
    """One range of a user namespace's map."""

    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class DeviceRule(Part, frozen=True, kw_only=True):
    """One rule of the device cgroup; without `type` it is about all devices."""

    allow: bool
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None


class Memory(Part, frozen=True, kw_only=True):
    """Bytes; `swap` is memory and swap together."""

    limit: int | None = None
    swap: int | None = None


class Cpu(Part, frozen=True, kw_only=True):
    """`shares` as of v1; a runtime converts them to a weight on v2."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None


class Pids(Part, frozen=True, kw_only=True):
    """How many tasks there may be."""

    limit: int


class Resources(Part, frozen=True, kw_only=True):
    """Limits of the container's cgroup."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None


class Linux(Part, frozen=True, kw_only=True):
    """The part of a config that only Linux has."""

    namespaces: tuple[Namespace, ...]
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    cgroups_path: str | None = None
    resources: Resources | None = None
    seccomp: Mapping[str, object] | None = None
    rootfs_propagation: str | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = {}


class Config(Part, frozen=True, kw_only=True):
    """config.json"""

    process: Process
    root: Root
    linux: Linux
    mounts: tuple[Mount, ...] = ()
    hostname: str | None = None
    annotations: Mapping[str, str] = {}
    # A default would be left out, and a runtime refuses a config without it; a factory's value is always written.
    oci_version: str = msgspec.field(default_factory=lambda: OCI_VERSION)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk: the directory and what its config.json says."""

    path: Path
    config: Config


def id_mappings(id_map: IdMap) -> tuple[IdMapping, ...]:
    """The map of a user namespace as the runtime wants it."""
    return tuple(IdMapping(container_id=p.inside, host_id=p.outside, size=p.count) for p in id_map)


def write_bundle(path: Path, config: Config) -> Bundle:
    """Write a bundle's directory (mode 0700, since an environment may hold secrets) and its config.json."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    _write(path / CONFIG_FILE, config)
    return Bundle(path, config)


def write_process(path: Path, process: Process) -> None:
    """Write the file that `exec` reads."""
    _write(path, process)


def _write(path: Path, content: Part) -> None:
    """Whole or not at all, and for the owner only. Not synced: after a power cut there is no container either."""
    unfinished = path.with_name(f".tmp.{path.name}.{os.getpid()}")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=2))
    unfinished.rename(path)
