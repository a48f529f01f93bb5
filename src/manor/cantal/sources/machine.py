"""The files about the machine as a whole, read one after the other."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from pathlib import Path

from manor.cantal.sources.feed import Feed, Samples, UnknownShape, together
from manor.cantal.sources.file_source import Facts, FileSource, Reading
from manor.cantal.sources.kept_file import Descriptors
from manor.cantal.store.series import Series, SeriesTable

_log = logging.getLogger(__name__)


class Machine:
    """All rows of the table of sources. A source that is missing or says nonsense gives nothing this tick."""

    def __init__(self, sources: Sequence[FileSource], facts: Facts, roots: dict[str, Path], fds: Descriptors) -> None:
        self.errors: dict[str, int] = {}  # by source: how often its file had an unknown shape
        self._feeds = [(source, _feed(source, facts, roots[source.root], fds)) for source in sources]

    def scan(self, table: SeriesTable) -> Samples:
        return together([self._samples(source, feed, table) for source, feed in self._feeds])

    def _samples(self, source: FileSource, feed: Feed, table: SeriesTable) -> Samples:
        try:
            return feed.read(table)
        except OSError:  # this kernel or container has no such file
            return together([])
        except UnknownShape as error:
            self.errors[source.name] = self.errors.get(source.name, 0) + 1
            if self.errors[source.name] == 1:
                _log.warning("scan.unknown_shape source=%s %s", source.name, error)
            return together([])


def _feed(source: FileSource, facts: Facts, root: Path, fds: Descriptors) -> Feed:
    def parse(texts: Sequence[bytes]) -> Reading:
        return source.parse(texts[0], facts)

    def series(shape: Hashable) -> Sequence[Series | None]:
        return source.series(shape, facts)

    return Feed([str(root / source.path)], parse, series, fds)
