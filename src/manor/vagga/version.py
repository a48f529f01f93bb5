"""The version hash: a chain over the steps, so that every prefix of a setup has a hash of its own.

h0 = H(format, uids, gids, epoch if set)      hi = H(h(i-1), name of step i, its fields)
version = H(hn, end-of-build format)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from manor.vagga.config import Container
from manor.vagga.errors import ConfigurationError
from manor.vagga.hasher import Hasher
from manor.vagga.id_ranges import parse_ranges
from manor.vagga.settings import Settings
from manor.vagga.steps.interface import Step, name_of
from manor.vagga.versioned import VersionedFiles

FORMAT: Final = "vagga image 1"  # changes when the meaning of a step changes
FINISH_FORMAT: Final = "end of build 1"
SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class Link:
    """One step of the chain."""

    number: int  # from 1
    step: Step
    hasher: Hasher
    digest: str


class Versions:
    """The versions of a project's containers; computed when asked for, and kept.

    Versions of dependencies are kept too, so one object sees the project as it was at one moment: make a new one
    after files may have changed.
    """

    def __init__(self, containers: Mapping[str, Container], files: VersionedFiles, epoch: int | None) -> None:
        self._containers = containers
        self._files = files
        self._epoch = epoch
        self._known: dict[str, str] = {}

    @property
    def files(self) -> VersionedFiles:
        return self._files

    def version(self, container: str) -> str:
        """128 hex digits. UnknownVersion when a file it depends on does not exist (yet)."""
        if container not in self._known:
            digest = self.begin(self._containers[container])
            for link in self.links(container):
                digest = link.digest
            self._known[container] = self.end(digest)
        return self._known[container]

    def links(self, container: str) -> Iterator[Link]:
        """The steps with their hashes, in order, each computed when it is asked for."""
        digest = self.begin(self._containers[container])
        for number, step in enumerate(self._containers[container].setup, start=1):
            link = self.link(digest, number, step)
            yield link
            digest = link.digest

    def begin(self, container: Container) -> str:
        """The hash before the first step: ranges as asked for, not as mapped."""
        ranges = [[list(r) for r in parse_ranges(texts)] for texts in (container.uids, container.gids)]
        return Hasher(FORMAT, *ranges, self._epoch).digest()

    def link(self, before: str, number: int, step: Step) -> Link:
        """One step hashed onto what came before."""
        hasher = Hasher(before, name_of(step))
        step.fingerprint(hasher, self)
        return Link(number, step, hasher, hasher.digest())

    @staticmethod
    def end(digest: str) -> str:
        """The version, from the hash of the last step."""
        return Hasher(digest, FINISH_FORMAT).digest()


def explicit_epoch(settings: Settings) -> int | None:
    """SOURCE_DATE_EPOCH of the environment, else of the settings."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return settings.source_date_epoch
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"SOURCE_DATE_EPOCH `{text}` is no number of seconds; unset it or give digits")
    return int(text)
