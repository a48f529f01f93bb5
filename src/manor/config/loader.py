"""YAML -> a struct of the caller's, with the place of everything kept. Start reading here.

    bytes --compose--> nodes --readers, along the fields of the struct--> value
          events, bounds,     units, tags, `-` = `_`,
          `<<`, includes      many problems at once

`load` and `load_file` do both steps and raise `ConfigError` with every problem found. `parse` is the first step
alone, for a caller that must look at one option before it judges the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from manor.config.compose import compose
from manor.config.dialect import TREE, Dialect
from manor.config.errors import ConfigError, Position, Problem
from manor.config.files import read_at_most
from manor.config.nodes import Mapping, Node, Scalar, option_name
from manor.config.plain_data import Trouble, core_value
from manor.config.readers import reader_for
from manor.config.reading import BAD, Reading
from manor.config.report import Budget, Report, Stop
from manor.config.struct_reader import locate

if TYPE_CHECKING:
    from manor.config.includes import IncludedFiles

__all__ = [
    "ConfigError",
    "Document",
    "Parsed",
    "Position",
    "Problem",
    "load",
    "load_data",
    "load_file",
    "parse",
    "read_bounded",
]

T = TypeVar("T")
Warn = Callable[[Problem], None]


class Document(msgspec.Struct, Generic[T], frozen=True):
    """A loaded file.

    Attributes:
        files: every file that was read, the main one first (not there if only its bytes were given).
        directories: every directory listed for a glob of an include: a new file in it may change the document.
    """

    value: T
    files: tuple[Path, ...]
    directories: tuple[Path, ...]
    root: Node
    dialect: Dialect

    def at(self, *path: str | int) -> Position:
        """Where an option's value stands: `at("containers", "web", "setup", 0)`. Unknown: its nearest ancestor."""
        return locate(self.root, self.value, path).at

    def problem(self, path: tuple[str | int, ...], text: str) -> Problem:
        """For checks after loading, worded and placed like the loader's own."""
        return Report(self.dialect, None).made(self.at(*path), text, path=path)


class Parsed:
    """A file whose YAML is sound, before any option got its type."""

    def __init__(
        self, root: Node, report: Report, dialect: Dialect, files: tuple[Path, ...], directories: tuple[Path, ...]
    ) -> None:
        self.root = root
        self.files = files
        self.directories = directories
        self._report = report
        self._dialect = dialect

    def option(self, name: str) -> tuple[str, Position] | None:
        """The text of an option of the top level and its place; None if it is absent, missing or no text."""
        entries = self.root.entries if isinstance(self.root, Mapping) else []
        value = next((value for key, value in entries if option_name(key.text) == option_name(name)), None)
        return (value.text, value.at) if isinstance(value, Scalar) and not value.null else None

    def load(self, into: type[T]) -> Document[T]:
        """Read it as a struct.

        Raises:
            ConfigError: with all problems, those of the YAML included.
        """
        reading = Reading(self._dialect, self._report)
        value: Any = reader_for(into)(self.root, reading)
        if self._report.problems:
            raise ConfigError(self._report.problems, files=self.files, directories=self.directories)
        assert value is not BAD
        return Document(value, self.files, self.directories, self.root, self._dialect)


def parse(
    text: bytes,
    file: str,
    dialect: Dialect,
    *,
    warn: Warn | None = None,
    root: Path | None = None,
    path: Path | None = None,
) -> Parsed:
    """The first step: bytes to nodes.

    Args:
        file: as the reader of an error knows it.
        root: the directory that includes are relative to; without it there are none.
        path: the file itself, if it is one.
    Raises:
        ConfigError: no YAML, or a bound crossed. Lesser problems wait for `Parsed.load`.
    """
    report = Report(dialect, warn)
    includes: IncludedFiles | None = None
    if root is not None and dialect.includes:
        from manor.config import includes as included  # most files of most tools have none

        left = dialect.bytes_max - len(text)
        includes = included.IncludedFiles(file, root, dialect, report, main=path, bytes_left=left)

    def looked_for() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        main = () if path is None else (path,)
        return (main, ()) if includes is None else ((*main, *includes.files), tuple(includes.directories))

    try:
        if len(text) > dialect.bytes_max:
            raise report.stop(Position(file, 1, 1), _too_large(dialect), kind="Decode Error", code="TooLarge")
        node = compose(text, file, dialect, report, Budget(), includes)
    except Stop as stop:
        files, directories = looked_for()
        raise ConfigError([stop.problem], files=files, directories=directories) from None
    return Parsed(node, report, dialect, *looked_for())


def load(
    text: bytes,
    file: str,
    into: type[T],
    dialect: Dialect,
    *,
    warn: Warn | None = None,
    root: Path | None = None,
) -> Document[T]:
    """Bytes to a struct: see `parse` for the arguments.

    Raises:
        ConfigError: with all problems of the file, and of the files it includes.
    """
    return parse(text, file, dialect, warn=warn, root=root).load(into)


def load_file(
    path: Path | str, into: type[T], dialect: Dialect, *, shown_as: str | None = None, warn: Warn | None = None
) -> Document[T]:
    """A file to a struct; includes are relative to its directory. What cannot be read is a ConfigError too."""
    path = Path(path)
    file = shown_as if shown_as is not None else str(path)
    text = read_bounded(path, file, dialect)
    return parse(text, file, dialect, warn=warn, root=path.parent, path=path).load(into)


def load_data(text: bytes, file: str, *, yaml_12: bool = True) -> Any:
    """Plain data of the first document of a file: no struct says the types, so YAML 1.2's core schema does.

    Args:
        yaml_12: False leaves every scalar a text.
    Raises:
        ConfigError: each problem has a `code`: YamlParse, Float, NanOrInfinity, BadYamlKey, BadYamlValue, TooLarge.
    """
    report = Report(TREE, None)
    try:
        if len(text) > TREE.bytes_max:
            raise report.stop(Position(file, 1, 1), _too_large(TREE), code="TooLarge")
        node = compose(text, file, TREE, report, Budget(), first_document_only=True)
    except Stop as stop:
        raise ConfigError([stop.problem]) from None
    trouble: Trouble = []
    value = core_value(node, trouble, typed=yaml_12)
    for at, what, code in trouble:
        report.error(at.at, what, code=code)
    if report.problems:
        raise ConfigError(report.problems)
    return value


def read_bounded(path: Path, file: str, dialect: Dialect) -> bytes:
    """The bytes of a file, at most one more than the dialect allows."""
    try:
        return read_at_most(path, dialect.bytes_max + 1)
    except OSError as error:
        report = Report(dialect, None)
        what = f"cannot read this file: {error.strerror or error}; check that it is there and readable"
        raise ConfigError([report.made(Position(file, 1, 1), what, kind="Decode Error")], files=(path,)) from error


def _too_large(dialect: Dialect) -> str:
    return f"larger than {dialect.bytes_max // (1024 * 1024)} MiB; split it or make it smaller"
