"""Reading the files of a configuration and putting them together; only when the cache does not know the result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from manor.config.dialect import VAGGA
from manor.config.errors import ConfigError, Position, Problem
from manor.config.loader import Document, load, parse, read_bounded
from manor.config.units import Pattern, UnsupportedTags
from manor.vagga.config import AnyCommand, Command, Container, Name, reference_problems
from manor.vagga.minimum_version import FORMAT_VERSION, is_at_least
from manor.vagga.project import LOCAL_FILES, Project
from manor.vagga.reading import Merged, looked_for, user_settings_files
from manor.vagga.settings import PROJECT_FILES, ProjectSettings, Settings, from_environment
from manor.vagga.steps.table import NOT_YET, STEPS, step_class

T = TypeVar("T")


AnyStep = Annotated[reduce(or_, map(step_class, STEPS)), UnsupportedTags(NOT_YET)]  # type: ignore[valid-type]
MixinPath = Annotated[str, Pattern(r"(?!/)(?!(.*/)?\.\.(/|$)).+", "write a path below this file, without `..`")]


class WrittenContainer(Container, frozen=True, kw_only=True):
    """A container as it is read: its steps are any of those in the table."""

    setup: tuple[AnyStep, ...] = ()  # type: ignore[valid-type]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One file: the main file, a mixin, or a local file."""

    containers: dict[Name, WrittenContainer] = {}
    commands: dict[Name, AnyCommand] = {}
    mixins: tuple[MixinPath, ...] = ()
    minimum_vagga: str | None = None


class _Files:
    """What was read so far: the layers from the weakest to the strongest, and every file that counts."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.documents: list[tuple[str, Document[Config]]] = []
        self.paths: list[Path] = []
        self.warnings: list[str] = []

    def warn(self, problem: Problem) -> None:
        self.warnings.append(str(problem))

    def read(self, path: Path, into: type[T]) -> Document[T]:
        """One file; what it includes counts as well."""
        shown = self.project.shown(path)
        self.paths.append(path)
        parsed = parse(read_bounded(path, shown, VAGGA), shown, VAGGA, warn=self.warn, root=path.parent, path=path)
        self.paths += [*parsed.files, *parsed.directories]
        too_old = _too_old(parsed.option("minimum-vagga") if into is Config else None)
        try:
            document = parsed.load(into)
        except ConfigError as error:
            raise ConfigError([*too_old, *error.problems]) from None
        if too_old:
            raise ConfigError(too_old)
        return document

    def collect(self, path: Path, being_read: tuple[Path, ...] = ()) -> None:
        """A file over its mixins, a later mixin over an earlier one."""
        document = self.read(path, Config)
        for mixin in document.value.mixins:
            inner = path.parent / mixin
            if inner in (*being_read, path):
                continue
            try:
                self.collect(inner, (*being_read, path))
            except ConfigError as error:
                self.warnings.append(f"mixin left out: {error.problems[0]}")
        self.documents.append((self.project.shown(path), document))


def _too_old(minimum: tuple[str, Position] | None) -> list[Problem]:
    """The first problem of a file that needs a newer vagga, whatever else is wrong in it."""
    if minimum is None or is_at_least(FORMAT_VERSION, minimum[0]):
        return []
    text = f'upgrade vagga to at least "{minimum[0]}"; this one understands format {FORMAT_VERSION}'
    return [Problem(minimum[1], text)]


def read_files(project: Project) -> tuple[Merged, list[Path]]:
    """The merged configuration, and every file that was read or looked for."""
    files = _Files(project)
    main = project.main_file()
    for path in ([main] if main else []) + [project.root / n for n in reversed(LOCAL_FILES)]:
        if path == main or path.is_file():
            files.collect(path)
    users = [files.read(path, Settings).value for path in user_settings_files() if path.is_file()]
    here = [
        files.read(project.root / name, ProjectSettings).value
        for name in PROJECT_FILES
        if (project.root / name).is_file()
    ]
    merged = _merge(files, users, here)
    return merged, list(dict.fromkeys([*looked_for(project), *files.paths]))


def _merge(files: _Files, users: list[Settings], here: Sequence[Settings]) -> Merged:
    containers: dict[str, Container] = {}
    commands: dict[str, Command] = {}
    origins: dict[str, str] = {}
    documents: dict[str, Document[Config]] = {}
    for shown, document in files.documents:
        containers |= document.value.containers
        commands |= document.value.commands
        origins |= {f"containers.{name}": shown for name in document.value.containers}
        origins |= {f"commands.{name}": shown for name in document.value.commands}
        documents |= dict.fromkeys(document.value.containers, document)
    problems = [documents[str(path[1])].problem(path, text) for path, text in reference_problems(containers)]
    if problems:
        raise ConfigError(problems)
    return Merged(
        containers={name: msgspec.Raw(msgspec.msgpack.encode(c)) for name, c in containers.items()},
        commands=commands,
        origins=origins,
        user_settings=users,
        project_settings=[Settings(**{f: getattr(s, f) for f in Settings.__struct_fields__}) for s in here],
        warnings=files.warnings,
    )


def settings_from_environment() -> list[Settings]:
    """What VAGGA_SETTINGS holds."""
    return from_environment(lambda text, file: load(text, file, Settings, VAGGA).value)
