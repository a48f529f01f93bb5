"""Directories that are looked at before the first command of a render file, and again at each `!Condition`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from manor.delivery.errors import DeliveryError
from manor.delivery.index import build_index
from manor.verwalter.render.errors import CommandFailed

ABSENT: Final = "absent"


class Watched:
    """How each directory looked when this was made. Raises CommandFailed where one cannot be read."""

    def __init__(self, directories: Iterable[str], *, dry_run: bool) -> None:
        self._before = {} if dry_run else {directory: signature(Path(directory)) for directory in directories}

    def changed(self, directory: str) -> bool:
        return signature(Path(directory)) != self._before[directory]


def signature(directory: Path) -> str:
    """Changes with every name, content, link target and execute bit below."""
    try:
        return _signature(directory)
    except FileNotFoundError:
        pass  # a file vanished while we were reading: look once more
    try:
        return _signature(directory)
    except FileNotFoundError as error:
        raise CommandFailed(f"{error.filename}: vanishes while {directory} is being watched") from error


def _signature(directory: Path) -> str:
    try:
        if not directory.exists():
            return ABSENT
        return build_index(directory.resolve()).id
    except FileNotFoundError:
        raise
    except (OSError, DeliveryError) as error:
        raise CommandFailed(f"`dirs-changed`: {directory} cannot be read: {error}") from error
