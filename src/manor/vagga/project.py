"""Where the project is: from the current directory upwards, the first one that holds vagga's configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.vagga.errors import ConfigurationError, warn

MAIN_FILES: Final = (".vagga/vagga.yaml", "vagga.yaml")
LOCAL_FILES: Final = (".vagga/local.yaml", ".vagga.local.yaml", "vagga.local.yaml")  # the strongest first


@dataclass(frozen=True, slots=True)
class Project:
    """A project and the place in it where the caller stands.

    Attributes:
        root: absolute, without symbolic links in it; /work inside of every container.
        inner: the current directory relative to the root; empty in the root itself.
    """

    root: Path
    inner: str

    @property
    def vagga_dir(self) -> Path:
        """`.vagga`: the base directory, or where `.lnk` leads to it."""
        return self.root / ".vagga"

    def shown(self, path: Path) -> str:
        """A path as the caller would write it: relative to where they stand if it lies below, else absolute."""
        here = self.root / self.inner
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def main_file(self) -> Path | None:
        """The main file, None when only local files mark the project."""
        found = [self.root / name for name in MAIN_FILES if (self.root / name).is_file()]
        if len(found) > 1:
            warn(f"{self.shown(found[1])} is ignored because {self.shown(found[0])} exists")
        return found[0] if found else None


def find_project(start: Path) -> Project:
    """The project that `start` (absolute) lies in; ConfigurationError when there is none up to `/`."""
    start = Path(os.path.realpath(start))
    for directory in (start, *start.parents):
        if (directory / "vagga.yml").exists():
            warn(f"{directory / 'vagga.yml'} is not read; the right name is `vagga.yaml`")
        if any((directory / name).is_file() for name in (*MAIN_FILES, *LOCAL_FILES)):
            inner = str(start.relative_to(directory))
            return Project(root=directory, inner="" if inner == "." else inner)
    raise ConfigurationError(
        f"no vagga.yaml in {start} or any directory above; change into a project or create `vagga.yaml`"
    )
