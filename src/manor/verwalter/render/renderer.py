"""A render file: which templates to render, and what to do with the results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.errors import ConfigError, Position
from manor.config.loader import load_file
from manor.verwalter.render.commands.interface import RenderCommand
from manor.verwalter.render.commands.table import AnyCommand
from manor.verwalter.render.errors import BadTemplate, Refused
from manor.verwalter.render.limits import Limits
from manor.verwalter.render.names import UnknownName, expand
from manor.verwalter.render.template_files import template_files
from manor.verwalter.render.templates import ENGINE_SUFFIX, Templates

SUFFIXES = (".render.yaml", ".render.yml")
REMOVE_SUFFIXES = (".remove.yaml", ".remove.yml")
SECRET_SUFFIX = ".secret"


class RenderFile(msgspec.Struct, frozen=True, kw_only=True):
    """The format of `*.render.yaml`."""

    templates: dict[str, str] = {}
    commands: tuple[AnyCommand, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's result, in a private file."""

    template: str
    path: Path
    text: str

    @property
    def is_secret(self) -> bool:
        return self.template.removesuffix(ENGINE_SUFFIX).endswith(SECRET_SUFFIX)


@dataclass(frozen=True, slots=True)
class Renderer:
    """One render file of a template directory."""

    name: str  # path in the template directory
    path: Path
    templates: dict[str, tuple[str, Position]]  # name -> path in the template directory, where it is named
    commands: tuple[RenderCommand, ...]
    positions: tuple[Position, ...]  # of the commands

    def names(self, files: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
        """What `{{ NAME }}` may stand for in the commands.

        Args:
            files: name of a template -> path of its result.
            own: what does not come from templates; wins.
        """
        names = dict(files)
        for name, path in files.items():
            names[f"files.{name}"] = names[f"templates.{name}"] = path
        if len(files) == 1:
            names["tmp_file"] = next(iter(files.values()))
        return {**names, **own}

    def check(self, names: Mapping[str, str], limits: Limits) -> None:
        """Find, before the first command of any render file runs, unknown names and what is not allowed.

        Raises:
            BadTemplate, Refused: with the position of the command.
        """
        for command, position in zip(self.commands, self.positions, strict=True):
            try:
                for text in command.texts():
                    expand(text, names)
            except UnknownName as error:
                raise BadTemplate(f"{position}: {error}") from error
            if refusal := command.refusal(names, limits):
                raise Refused(f"{position}: {refusal}")

    def directories(self, names: Mapping[str, str]) -> Iterable[str]:
        """What conditions watch."""
        return [expand(text, names) for command in self.commands for text in command.directories()]


def read_renderers(directory: Path, roots: Iterable[Path], *, removed: bool = False) -> list[Renderer]:
    """Every render file below the directory, in the order of paths.

    Args:
        removed: read those for a role that left the node.
    Raises:
        BadTemplate: with file, line and column where there is one.
    """
    suffixes = REMOVE_SUFFIXES if removed else SUFFIXES
    renderers = [
        _read_renderer(directory, name) for name in template_files(directory, roots) if name.endswith(suffixes)
    ]
    if not renderers:
        raise BadTemplate(f"{directory}: no `*{suffixes[0]}`; a template directory has at least one")
    return renderers


def _read_renderer(directory: Path, name: str) -> Renderer:
    path = directory / name
    try:
        document = load_file(path, RenderFile, VERWALTER)
    except ConfigError as error:
        raise BadTemplate(str(error)) from error
    file = document.value
    here = os.path.dirname(name)
    templates = {
        key: (os.path.normpath(os.path.join(here, template)), document.at("templates", key))
        for key, template in file.templates.items()
    }
    positions = tuple(document.at("commands", number) for number in range(len(file.commands)))
    return Renderer(name, path, templates, file.commands, positions)


def render(renderer: Renderer, templates: Templates, variables: Mapping[str, Any], into: Path) -> dict[str, Rendered]:
    """Render the templates of one render file into private files below `into`. Raises BadTemplate."""
    results = {}
    for number, (name, (template, position)) in enumerate(sorted(renderer.templates.items())):
        if template not in templates:
            raise BadTemplate(f"{position}: no template `{template}` here; templates end in `{ENGINE_SUFFIX}`")
        text = templates.render(template, variables)
        folder = into / f"{renderer.name.replace('/', '+')}.{number}"
        path = folder / Path(template).name.removesuffix(ENGINE_SUFFIX)
        try:
            _write_private(path, text.encode())
        except OSError as error:
            raise BadTemplate(f"{position}: its result cannot be written to {path}: {error.strerror}") from error
        results[name] = Rendered(template, path, text)
    return results


def _write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
