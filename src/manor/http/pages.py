"""Static files: which file a path of the web application means."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HASHED: Final = re.compile(r"[-.][0-9A-Za-z_-]{8,}\.[a-z0-9]+$")  # index-B3x9Qk2a.js: another content, another name


@dataclass(frozen=True, slots=True)
class Page:
    """A file to send; what never changes may be kept for a year, the rest is asked for again each time."""

    file: Path
    unchanging: bool = False

    @property
    def cache_control(self) -> str:
        return "public, max-age=31536000, immutable" if self.unchanging else "no-cache"


FindPage: TypeAlias = Callable[[str], Page | None]  # raw path, beginning with `/` -> its file


def single_page_application(folder: Path) -> FindPage:
    """Files of the folder by their path; every other path without a dot in its last component is `index.html`."""

    def find(path: str) -> Page | None:
        page = file_of(folder, path.lstrip("/"))
        if page is not None:
            return page
        if "." in path.rpartition("/")[2]:
            return None
        return file_of(folder, "index.html")

    return find


def file_of(folder: Path, path: str) -> Page | None:
    """A regular file below a folder, or None: no hidden name, no `..`, no link that leads out."""
    components = [unquote(component) for component in path.split("/")]
    if any(not c or c.startswith(".") or "/" in c or "\0" in c for c in components):
        return None
    file = folder.joinpath(*components)
    try:
        resolved, inside = file.resolve(), folder.resolve()
    except (OSError, RuntimeError):  # a loop of links is the second one
        return None
    if not resolved.is_relative_to(inside) or not resolved.is_file():
        return None
    return Page(resolved, unchanging=_HASHED.search(file.name) is not None)
