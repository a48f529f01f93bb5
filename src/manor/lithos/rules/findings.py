"""What a rule has to say: the place in which of the files, what is wrong, and whether that stops a start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Path = tuple[str | int, ...]


class In(Enum):
    """The file a finding points into."""

    SANDBOX = "sandbox"
    PROCESSES = "processes"  # paths begin with the name of the entry
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Finding:
    """An error, or with `warning` something a person should know."""

    file: In
    path: Path
    text: str
    warning: bool = False


def container(path: Path | str, text: str, *, warning: bool = False) -> Finding:
    return Finding(In.CONTAINER, (path,) if isinstance(path, str) else path, text, warning)


def processes(path: Path | str, text: str, *, warning: bool = False) -> Finding:
    return Finding(In.PROCESSES, (path,) if isinstance(path, str) else path, text, warning)


def sandbox(path: Path | str, text: str, *, warning: bool = False) -> Finding:
    return Finding(In.SANDBOX, (path,) if isinstance(path, str) else path, text, warning)
