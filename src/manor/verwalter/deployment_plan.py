"""Which roles a node has to render, and why: pure planning over variables, templates and what was deployed before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manor.verwalter.state_files import DeployedRole

ROLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
TEMPLATE_DEPTH_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class TemplateDirectory:
    """What of a template directory decides whether a role must be rendered again."""

    hash: str  # of all names and contents
    uses_schedule: bool  # mentions `full_schedule`, so that every new schedule counts


@dataclass(frozen=True, slots=True)
class RoleWork:
    """One role to render. With a `refusal` no process is started, the role fails."""

    role: str
    variables: dict[str, Any]
    hash: str
    template: str
    refusal: str | None = None
    removes: bool = False  # the role is no longer this node's: its `*.remove.yaml` run once


def template_problem(template: object) -> str | None:
    """Why this cannot be the place of a template directory below `templates/`; None if it can."""
    if not isinstance(template, str) or not template:
        return 'no `template` in the variables of this role; a directory below templates/, such as "site/v1"'
    components = template.split("/")
    if len(components) > TEMPLATE_DEPTH_MAX or any(part in ("", ".", "..") or "\0" in part for part in components):
        return f"`template: {template}` is not safe; 1 to {TEMPLATE_DEPTH_MAX} plain names with `/` between them"
    return None


def read_template_directory(templates: Path, template: str) -> TemplateDirectory:
    """A missing one has the hash of nothing: the renderer will say what is wrong."""
    digest, uses_schedule = hashlib.sha256(), False
    directory = templates / template
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        name = str(path.relative_to(directory)).encode(errors="surrogateescape")
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
        uses_schedule |= b"full_schedule" in content
    return TemplateDirectory(digest.hexdigest(), uses_schedule)


def role_work(
    role: str, variables: Mapping[str, Any], directory: TemplateDirectory, schedule_hash: str, machine: Any
) -> RoleWork:
    """The role with the hash of everything its rendering depends on; the time is not among it."""
    refusal = None if ROLE_NAME.fullmatch(role) else "bad role name"
    refusal = refusal or template_problem(variables.get("template"))
    depends = {
        "variables": {key: value for key, value in variables.items() if key != "timestamp"},
        "template": directory.hash,
        "schedule": schedule_hash if directory.uses_schedule else None,
        "machine": machine,
    }
    text = json.dumps(depends, sort_keys=True, separators=(",", ":"))
    hash = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
    return RoleWork(role, dict(variables), hash, str(variables.get("template") or ""), refusal)


@dataclass(frozen=True, slots=True)
class Rules:
    """When roles that did not change are rendered all the same."""

    retry_s: float
    retry_max_s: float
    everything: bool  # the first deployment after a start, or `render.all-roles`


def roles_to_deploy(
    works: Collection[RoleWork],
    deployed: Mapping[str, DeployedRole],
    forced: Collection[str],
    now_ms: int,
    rules: Rules,
) -> tuple[RoleWork, ...]:
    """In the order of names: changed, named by somebody, or failed long enough ago."""
    return tuple(
        work
        for work in sorted(works, key=lambda work: work.role)
        if rules.everything
        or work.role in forced
        or work.role not in deployed
        or deployed[work.role].hash != work.hash
        or (not deployed[work.role].ok and retry_at_ms(deployed[work.role], rules) <= now_ms)
    )


def retry_at_ms(role: DeployedRole, rules: Rules) -> int:
    """When a role that failed is tried again: after half a minute, then twice as long each time."""
    doublings = min(max(0, role.failures - 1), 16)
    return role.at + int(1000 * min(rules.retry_s * 2**doublings, rules.retry_max_s))


def next_retry_ms(deployed: Mapping[str, DeployedRole], present: Collection[str], rules: Rules) -> int | None:
    moments = [retry_at_ms(role, rules) for name, role in deployed.items() if not role.ok and name in present]
    return min(moments, default=None)


def removals(
    gone: Collection[str], deployed: Mapping[str, DeployedRole], templates: Path, now_ms: int, rules: Rules
) -> tuple[RoleWork, ...]:
    """Of roles that are no longer this node's those whose templates say how to take them away."""
    found = []
    for name in sorted(gone):
        role = deployed[name]
        waiting = role.removing and not role.ok and retry_at_ms(role, rules) > now_ms
        if not waiting and has_removal(templates, role.template):
            variables = {**role.variables, "removed": True}
            found.append(RoleWork(name, variables, role.hash, role.template, removes=True))
    return tuple(found)


def has_removal(templates: Path, template: str) -> bool:
    if template_problem(template) is not None:
        return False
    return any(path.suffix in (".yaml", ".yml") for path in (templates / template).glob("**/*.remove.*"))


def orphans(deployed: Mapping[str, DeployedRole], present: Collection[str]) -> tuple[str, ...]:
    """Roles that were deployed here and are no longer this node's."""
    return tuple(sorted(deployed.keys() - set(present)))
