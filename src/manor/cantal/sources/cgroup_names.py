"""From a control group's path to the name people know it by. Pure."""

from __future__ import annotations

from collections.abc import Sequence

SUFFIXES = (".slice", ".scope", ".service")
SKIPPED_SUFFIXES = (".swap", ".mount")
USER_TREE = ("user", "user.slice")
MASTER_LEAF = "lithos_tree.scope"  # where a lithos master lives on v2, beside the groups it makes


def group_name(components: Sequence[str]) -> str:
    """`("system.slice", "nscd.service")` -> `system.nscd`."""
    return ".".join(_without_suffix(component) for component in components)


def is_skipped(components: Sequence[str], *, include_user_slice: bool) -> bool:
    """Whether this group and all below it are left out; asked for every ancestor before."""
    if components[-1].endswith(SKIPPED_SUFFIXES):
        return True
    return len(components) == 1 and components[0] in USER_TREE and not include_user_slice


def home_of(components: Sequence[str]) -> Sequence[str]:
    """The group that processes in this directory count for: its parent's, for the leaf of a lithos master."""
    return components[:-1] if components[-1] == MASTER_LEAF else components


def _without_suffix(component: str) -> str:
    for suffix in SUFFIXES:
        if component.endswith(suffix):
            return component[: -len(suffix)]
    return component
