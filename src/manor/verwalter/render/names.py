"""Expansion of `{{ NAME }}` in the strings of render commands. Not a template language: a name or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)


class UnknownName(Exception):
    """`{{ nope }}` is unknown; known are `role`, `node`, `files.processes`"""


def expand(text: str, names: Mapping[str, str]) -> str:
    """Replace every `{{ NAME }}`. Raises UnknownName."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            known = ", ".join(f"`{one}`" for one in sorted(names))
            raise UnknownName(f"`{match[0]}` is unknown; known are {known}")
        return names[name]

    return _REFERENCE.sub(value, text)
