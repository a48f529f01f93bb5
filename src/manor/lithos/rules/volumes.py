"""What of the host a volume shows: virtual paths, owners, and where a mount point must exist (rule V10).

A volume names a virtual path such as `/db`. The sandbox's `writable-paths` and `readonly-paths` say which host
directory stands for it: the key that is the longest prefix, component by component, wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manor.kernel.id_map import IdMap, IdNotMapped, to_outside
from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.files.volumes import Persistent, Readonly, Tmpfs, Volume, normal
from manor.lithos.rules.findings import Finding, container


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPart:
    """`beneath` is looked up below `base` without following any symbolic link."""

    base: str
    beneath: str

    @property
    def path(self) -> str:
        return f"{self.base.rstrip('/')}/{self.beneath}" if self.beneath else self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVolume:
    """One volume of one instance. host is for !Readonly and !Persistent; owner is in ids of the host."""

    mount_point: str
    volume: Volume
    host: HostPart | None = None
    owner: tuple[int, int] = (0, 0)


def planned_volumes(
    config: ContainerConfig, limits: SandboxConfig, uid_map: IdMap, gid_map: IdMap
) -> tuple[tuple[PlannedVolume, ...], list[Finding]]:
    """All volumes in order of mounting, shorter mount points first."""
    planned: list[PlannedVolume] = []
    findings: list[Finding] = []
    for key, volume in sorted(config.volumes.items(), key=lambda item: (len(normal(item[0])), item[0])):
        host = None
        if isinstance(volume, Readonly | Persistent):
            host = host_part(volume, limits)
            if host is None:
                options = "`readonly-paths` or `writable-paths`" if isinstance(volume, Readonly) else "`writable-paths`"
                findings.append(
                    container(
                        ("volumes", key), f"volume `{key}`: `{volume.path}` is not in {options} of the sandbox; add it"
                    )
                )
                continue
        owner, owner_findings = _owner(key, volume, limits, uid_map, gid_map)
        findings += owner_findings
        planned.append(PlannedVolume(mount_point=normal(key), volume=volume, host=host, owner=owner))
    return tuple(planned), findings


def host_part(volume: Readonly | Persistent, limits: SandboxConfig) -> HostPart | None:
    """Where the host has what a volume shows; None when the sandbox does not offer it."""
    tables = [limits.writable_paths]
    if isinstance(volume, Readonly):
        tables.insert(0, limits.readonly_paths)
    for table in tables:
        if (found := _longest_prefix(table, normal(volume.path))) is not None:
            return found
    return None


def _longest_prefix(table: Mapping[str, str], path: str) -> HostPart | None:
    best: tuple[str, str] | None = None
    for key, base in table.items():
        prefix = normal(key)
        if is_below(path, prefix) and (best is None or len(prefix) > len(best[0])):
            best = (prefix, base)
    if best is None:
        return None
    return HostPart(base=best[1], beneath=path.removeprefix(best[0]).strip("/"))


def is_below(path: str, directory: str) -> bool:
    """True if the path is the directory or lies in it; both are normal paths."""
    return directory == "/" or path == directory or path.startswith(directory + "/")


def volume_above(planned: tuple[PlannedVolume, ...], path: str, *, or_at: bool = False) -> PlannedVolume | None:
    """The volume a path lies on: the innermost one mounted above it, or with or_at exactly there."""
    found = [
        volume for volume in planned if is_below(path, volume.mount_point) and (or_at or volume.mount_point != path)
    ]
    return max(found, key=lambda volume: len(volume.mount_point), default=None)


def _owner(
    key: str, volume: Volume, limits: SandboxConfig, uid_map: IdMap, gid_map: IdMap
) -> tuple[tuple[int, int], list[Finding]]:
    if isinstance(volume, Readonly | Tmpfs):
        return (0, 0), []
    findings: list[Finding] = []
    numbers: list[int] = []
    for option, number, id_map, in_sandbox in (
        ("user", volume.user, uid_map, bool(limits.uid_map)),
        ("group", volume.group, gid_map, bool(limits.gid_map)),
    ):
        outside, finding = _outside(key, option, number, id_map, in_sandbox=in_sandbox)
        numbers.append(outside)
        findings += finding
    return (numbers[0], numbers[1]), findings


def _outside(key: str, option: str, number: int, id_map: IdMap, *, in_sandbox: bool) -> tuple[int, list[Finding]]:
    """An owner as an id of the host. Old configs wrote host ids when the map was the sandbox's: those still work."""
    if not id_map:
        return number, []
    try:
        return to_outside(id_map, number), []
    except IdNotMapped:
        pass
    if number == 0:
        return 0, []
    path = ("volumes", key, option)
    if in_sandbox and any(part.outside <= number < part.outside + part.count for part in id_map):
        text = f"{option} {number} is not mapped and taken as an id of the host; write the id as seen inside"
        return number, [container(path, text, warning=True)]
    return 0, [container(path, f"{option} {number} is not mapped by the id map; use one that is")]
