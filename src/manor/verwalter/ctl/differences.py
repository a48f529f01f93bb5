"""What differs between two schedules, path by path. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

DIFFERENCES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    path: str  # nodes.beta.roles.site.daemons.web-b.instances
    op: Literal["add", "remove", "change"]
    old: Any = None
    new: Any = None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Sorted by path, the first DIFFERENCES_MAX of them. Lists are compared as wholes."""
    return sorted(islice(_compare("", old, new), DIFFERENCES_MAX), key=lambda one: one.path)


def _compare(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else str(key)
            if key not in old:
                yield Difference(below, "add", new=new[key])
            elif key not in new:
                yield Difference(below, "remove", old=old[key])
            else:
                yield from _compare(below, old[key], new[key])
    elif old != new or type(old) is not type(new):
        yield Difference(path, "change", old, new)


def shown(one: Difference) -> str:
    """`~ path: 2 -> 3`, `+ path: 3`, `- path: 2`."""
    old, new = (json.dumps(value, ensure_ascii=False, sort_keys=True) for value in (one.old, one.new))
    match one.op:
        case "add":
            return f"+ {one.path}: {new}"
        case "remove":
            return f"- {one.path}: {old}"
    return f"~ {one.path}: {old} -> {new}"
