"""Which names images, sandboxes, roles and versions may have: everything that becomes part of a path."""

from __future__ import annotations

import re
from typing import Final

from manor.delivery.errors import BadUsage

COMPONENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
ROLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
VERSION: Final = re.compile(r"v[0-9][A-Za-z0-9_.-]{0,126}")
ID: Final = re.compile(r"[0-9a-f]{64}")
LEVELS_MAX: Final = 16


def check_image_name(name: str, levels: int | None = None) -> None:
    """BadUsage unless it is `levels` plain components (any number up to 16 if not given)."""
    components = name.split("/")
    if len(components) > LEVELS_MAX or not all(COMPONENT.fullmatch(component) for component in components):
        raise BadUsage(f"`{_short(name)}` is no image name; letters, digits, `_`, `.`, `-` would be right")
    if levels is not None and len(components) != levels:
        raise BadUsage(f"`{_short(name)}` has {len(components)} components; this sandbox's images have {levels}")


def check_sandbox_name(name: str) -> None:
    if not COMPONENT.fullmatch(name):
        raise BadUsage(f"`{_short(name)}` is no sandbox name; letters, digits, `_`, `.`, `-` would be right")


def check_role_version(role: str, version: str) -> None:
    if not ROLE.fullmatch(role):
        raise BadUsage(f"`{_short(role)}` is no role name; letters, digits, `_`, `.`, `-`, at most 63, would be right")
    if not VERSION.fullmatch(version):
        raise BadUsage(f"`{_short(version)}` is no version; `v` and a digit first, such as `v1.2`, would be right")


def check_id(id_: str) -> None:
    if not ID.fullmatch(id_):
        raise BadUsage(f"`{_short(id_)}` is no id; 64 hexadecimal digits would be right")


def flat(name: str) -> str:
    """An image name as one file name: `/` cannot stand in one, and `+` is in no image name."""
    return name.replace("/", "+")


def _short(text: str) -> str:
    printable = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return printable if len(printable) <= 60 else printable[:57] + "..."
