"""One call of vagga in a project: flags, configuration, settings, images; what every command begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from manor.vagga.command_line import Flags
from manor.vagga.errors import UsageError, warn
from manor.vagga.images import Check, Images
from manor.vagga.project import Project, find_project
from manor.vagga.reading import Merged, read_configuration
from manor.vagga.settings import Settings

if TYPE_CHECKING:
    from manor.vagga.config import Container
    from manor.vagga.listing import Entry


@dataclass
class Session:
    """Made once; the parts are read when they are first asked for.

    Attributes:
        stdio: the caller's descriptors 0 to 2, None for a closed one.
    """

    flags: Flags
    stdio: tuple[int | None, int | None, int | None]

    @cached_property
    def project(self) -> Project:
        project = find_project(Path(os.getcwd()))
        _check_owner(project, ignored="ignore_owner_check" in self.flags)
        return project

    @cached_property
    def _read(self) -> tuple[Merged, Settings]:
        return read_configuration(self.project)

    @property
    def merged(self) -> Merged:
        return self._read[0]

    @property
    def settings(self) -> Settings:
        return self._read[1]

    @cached_property
    def images(self) -> Images:
        return Images(self.project, self.merged, self.settings)

    @property
    def check(self) -> Check:
        """What may be done to have an image, by the flags and the settings."""
        if "no_version_check" in self.flags or self.settings.version_check is False:
            return Check.NO_CHECK
        return Check.NO_BUILD if "no_build" in self.flags else Check.BUILD

    @property
    def containers(self) -> Mapping[str, Container]:
        return self.images.containers

    def entries(self) -> list[Entry]:
        """The project's commands, for listings."""
        from manor.vagga.listing import Entry

        return [
            Entry(
                name=name,
                description=command.description,
                group=command.group,
                aliases=command.also_called,
                source=self.merged.origins.get(f"commands.{name}", ""),
            )
            for name, command in self.merged.commands.items()
        ]


def _check_owner(project: Project, *, ignored: bool) -> None:
    owner = project.root.stat().st_uid
    if owner == os.getuid() or ignored:
        return
    if os.getuid() == 0:
        raise UsageError(
            f"{project.root} belongs to user {owner}, and files made by root would be out of their reach;"
            " run vagga as that user, or with --ignore-owner-check"
        )
    warn(f"{project.root} belongs to user {owner}, not to you")
