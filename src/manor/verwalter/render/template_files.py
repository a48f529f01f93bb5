"""Which files of a template directory count."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from manor.verwalter.render.errors import BadTemplate

FILES_MAX: Final = 10_000


def template_files(directory: Path, roots: Iterable[Path]) -> list[str]:
    """Paths below the directory, sorted; hidden and backup files and what lies in hidden directories are left out.

    Raises:
        BadTemplate: a link that leads out of all `roots`, or too many files.
    """
    allowed = [root.resolve() for root in roots]
    _refuse_outside(directory, allowed)
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if _counts(name)]
        for name in filter(_counts, names):
            path = Path(folder, name)
            _refuse_outside(path, allowed)
            if path.is_file():
                found.append(path)
        if len(found) > FILES_MAX:
            raise BadTemplate(f"{directory}: more than {FILES_MAX} files; split it into several")
    return [str(path.relative_to(directory)) for path in sorted(found)]


def _counts(name: str) -> bool:
    return not name.startswith((".", "#")) and not name.endswith("~")


def _refuse_outside(path: Path, allowed: Iterable[Path]) -> None:
    target = path.resolve()
    if not any(target.is_relative_to(root) for root in allowed):
        raise BadTemplate(f"{path}: a link that leads out of the templates, to {target}; put a copy here")
