"""What of a requirements file counts for a version: its lines, those of files it names, and local packages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Final

from manor.vagga.errors import PreparationError
from manor.vagga.hasher import Field, Hasher
from manor.vagga.selection import parse_rules
from manor.vagga.versioned import VersionedFiles

_NESTED: Final = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|=|(?<=-[rc]))\s*(\S+)$")


def expanded_lines(file: str, read: Callable[[str], str], above: tuple[str, ...] = ()) -> list[str]:
    """Stripped lines without empty ones and comments; `-r FILE` and `-c FILE` expanded in their place.

    Args:
        read: the text of a file, by its path in the project.
    Raises:
        PreparationError: files that name each other in a circle.
    """
    if file in above:
        raise PreparationError(f"requirements files name each other in a circle: {' -> '.join([*above, file])}")
    lines: list[str] = []
    for raw in read(file).splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        nested = _NESTED.match(line)
        if nested is None or "://" in nested[1]:
            lines.append(line)
        else:
            inner = os.path.normpath(os.path.join(os.path.dirname(file), nested[1]))
            if inner.startswith(("../", "/")):
                raise PreparationError(f"{file}: `{line}` leads out of the project; keep the file in it")
            lines += expanded_lines(inner, read, (*above, file))
    return lines


def local_paths(specs: Sequence[str], into: Hasher, files: VersionedFiles) -> None:
    """Add the content of every requirement that is a path in the project, such as `./lib` or `-e ./lib`."""
    for spec in specs:
        path = spec.removeprefix("-e").removeprefix("--editable").strip().removeprefix("file:").split(" ")[0]
        if not path.startswith("./"):
            continue
        for found in files.select(os.path.normpath(path), parse_rules((), with_defaults=True)):
            fields: list[Field] = [path, found.path]
            if not found.is_directory:
                fields.append(files.content(found))
            into.add("local", fields)


def needs(lines: Sequence[str]) -> set[str]:
    """Which version control programs the requirements call for: git, mercurial."""
    found = set()
    for line in lines:
        if "git+" in line:
            found.add("git")
        if "hg+" in line:
            found.add("mercurial")
    return found
