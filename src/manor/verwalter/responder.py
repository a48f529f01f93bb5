"""Which roles a node renders, with which variables: the built-in answer, a pure merge of four mappings.

For role R on node H: `nodes[H].roles[R]`, `nodes[H].vars`, `roles[R]`, `vars`; the first that has a key wins, and where
the winning value is a mapping, those of the later ones are joined below it, one level deep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class RolesOfNode:
    to_render: dict[str, dict[str, Any]]  # role -> variables
    all_roles: tuple[str, ...]


def merge(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier sources win. `{"a": {"x": 1}}`, `{"a": 5}`, `{"a": {"x": 2, "y": 3}}` -> `{"a": {"x": 1, "y": 3}}`."""
    merged: dict[str, Any] = {}
    for source in sources:
        for key, value in source.items():
            if key not in merged:
                merged[key] = dict(value) if isinstance(value, dict) else value
            elif isinstance(merged[key], dict) and isinstance(value, dict):
                merged[key] = {**value, **merged[key]}
    return merged


def roles_of_node(data: Mapping[str, Any], hostname: str, now: datetime) -> RolesOfNode:
    """The roles that stand in `nodes[hostname].roles` of a schedule's data, with their variables."""
    node = _mapping(_mapping(data.get("nodes")).get(hostname))
    here = _mapping(node.get("roles"))
    roles = _mapping(data.get("roles"))
    timestamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    to_render = {}
    for role in sorted(here):
        sources = (here[role], node.get("vars"), roles.get(role), data.get("vars"))
        variables = merge(*map(_mapping, sources))
        to_render[role] = {"node": hostname, **variables, "role": role, "timestamp": timestamp}
    return RolesOfNode(to_render, tuple(sorted(here.keys() | roles.keys())))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
