"""Who a process is: uid, gid, and the id maps of its user namespace (rules V4, V5, V6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from manor.kernel.id_map import IdMap, to_outside
from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.ranges import IdMapEntry, contains, shown
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.rules.findings import Finding, container, sandbox


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids as seen inside; empty maps mean that no user namespace is used."""

    uid: int
    gid: int
    uid_map: IdMap
    gid_map: IdMap

    @property
    def host_uid(self) -> int:
        return _outside(self.uid_map, self.uid)

    @property
    def host_gid(self) -> int:
        return _outside(self.gid_map, self.gid)


def _outside(id_map: IdMap, number: int) -> int:
    """Rule V5 has made sure that the ids of a process are mapped."""
    return to_outside(id_map, number) if id_map else number


def identity(config: ContainerConfig, limits: SandboxConfig) -> tuple[Identity | None, list[Finding]]:
    """The identity of a process, or None with at least one error among the findings."""
    findings = list(_map_findings(config, limits))
    uid, uid_findings = _one_id("user", config.user_id, limits.default_user, config.uid_map, limits)
    gid, gid_findings = _one_id("group", config.group_id, limits.default_group, config.gid_map, limits)
    findings += [*uid_findings, *gid_findings]
    if uid is None or gid is None or findings:
        return None, findings
    uid_map = effective_map(config.uid_map, limits.uid_map)
    gid_map = effective_map(config.gid_map, limits.gid_map)
    return Identity(uid, gid, uid_map, gid_map), findings


def effective_map(in_container: Sequence[IdMapEntry], in_sandbox: Sequence[IdMapEntry]) -> IdMap:
    return tuple(entry.to_range() for entry in in_sandbox or in_container)


def _map_findings(config: ContainerConfig, limits: SandboxConfig) -> Iterator[Finding]:
    if config.uid_map and limits.uid_map:
        yield container("uid_map", "both the sandbox and the container config have id maps; leave one of them out")
    for option, entries, allowed, name in (
        ("uid_map", config.uid_map, limits.allow_users, "allow-users"),
        ("gid_map", config.gid_map, limits.allow_groups, "allow-groups"),
    ):
        for index, entry in enumerate(entries):
            last = entry.outside + entry.count - 1
            if not any(span.low <= entry.outside and last <= span.high for span in allowed):
                yield container(
                    (option, index), f"{entry.outside}-{last} outside is not within a range of the sandbox's `{name}`"
                )


def _one_id(
    kind: str, wanted: int | None, default: int | None, in_container: Sequence[IdMapEntry], limits: SandboxConfig
) -> tuple[int | None, list[Finding]]:
    option, fallback = f"{kind}_id", f"default-{kind}"
    allowed, allowed_name = (
        (limits.allow_users, "allow-users") if kind == "user" else (limits.allow_groups, "allow-groups")
    )
    in_sandbox = limits.uid_map if kind == "user" else limits.gid_map
    number = default if wanted is None else wanted
    if number is None:
        return None, [container((), f"no {kind} id; give `{kind}-id` here or `{fallback}` in the sandbox")]
    if in_container:
        if not _maps(in_container, number):
            return None, [container(option, f"{kind} id {number} is not mapped by the id map of this file")]
        return number, []
    findings: list[Finding] = []
    if not allowed:
        findings.append(sandbox((), f"`{allowed_name}` is empty; nothing can start without allowed ids"))
    elif not contains(allowed, number):
        findings.append(container(option, f"{kind} id {number} is not allowed; the sandbox allows {shown(allowed)}"))
    if in_sandbox and not _maps(in_sandbox, number):
        findings.append(container(option, f"{kind} id {number} is not mapped by the sandbox's id map"))
    return (None, findings) if findings else (number, [])


def _maps(entries: Sequence[IdMapEntry], number: int) -> bool:
    return any(entry.inside <= number < entry.inside + entry.count for entry in entries)
