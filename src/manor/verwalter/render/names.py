"""Expansion of `{{ NAME }}` in the strings of render commands. Not a template language: a name or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from manor.config.errors import ManorError

_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class UnknownName(ManorError):
    """`{{ nope }}` is unknown; known are `role`, `node`, `files.processes`"""

    exit_status = 10


def expand(text: str, names: Mapping[str, str]) -> str:
    """Replace every `{{ NAME }}`.

    Raises:
        UnknownName: before anything has run, so that no command sees a half-expanded line.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            known = ", ".join(f"`{one}`" for one in sorted(names))
            raise UnknownName(f"`{match[0]}` is unknown; known are {known}")
        return names[name]

    return _REFERENCE.sub(value, text)
