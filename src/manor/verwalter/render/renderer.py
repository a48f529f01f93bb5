"""A render file: which templates to render, and what to do with the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.errors import ConfigError, ManorError
from manor.config.loader import load_file
from manor.delivery.errors import DeliveryError
from manor.delivery.index import build_index
from manor.verwalter.render.commands.interface import RenderCommand
from manor.verwalter.render.commands.table import AnyCommand
from manor.verwalter.render.names import expand
from manor.verwalter.render.task import Task
from manor.verwalter.render.templates import Templates

SUFFIXES = (".render.yaml", ".render.yml")
ENGINE_SUFFIX = ".j2"
SECRET_SUFFIX = ".secret"


class NoRenderer(ManorError):
    """templates/site/v1: no `*.render.yaml`; a template directory has at least one"""

    exit_status = 10


class BadRenderer(ManorError):
    """A render file that cannot be read, or names something unknown; nothing has run."""

    exit_status = 10


class RenderFile(msgspec.Struct, frozen=True, kw_only=True):
    """The format of `*.render.yaml`."""

    templates: dict[str, str] = {}
    commands: tuple[AnyCommand, ...]


@dataclass(frozen=True, slots=True)
class Renderer:
    """One render file of a template directory."""

    name: str  # path in the template directory
    file: RenderFile

    @property
    def commands(self) -> tuple[RenderCommand, ...]:
        return self.file.commands

    def template_path(self, name: str) -> str:
        """Where a template is, in the template directory; paths in a render file are relative to it."""
        return os.path.normpath(os.path.join(os.path.dirname(self.name), self.file.templates[name]))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's result, in a private file."""

    template: str
    path: Path
    text: str

    @property
    def is_secret(self) -> bool:
        return self.template.removesuffix(ENGINE_SUFFIX).endswith(SECRET_SUFFIX)


def read_renderers(directory: Path) -> list[Renderer]:
    """Every render file below the directory, in the order of paths.

    Raises:
        NoRenderer, BadRenderer: with file, line and column where there is one.
    """
    renderers = []
    for path in sorted(_render_files(directory)):
        try:
            renderers.append(Renderer(str(path.relative_to(directory)), load_file(path, RenderFile, VERWALTER).value))
        except ConfigError as error:
            raise BadRenderer(str(error)) from error
    if not renderers:
        raise NoRenderer(f"{directory}: no `*.render.yaml`; a template directory has at least one")
    return renderers


def _render_files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        if path.name.endswith(SUFFIXES) and not path.name.startswith((".", "#")) and path.is_file():
            yield path


def render(renderer: Renderer, templates: Templates, variables: Mapping[str, Any], into: Path) -> dict[str, Rendered]:
    """Render the templates of one render file into private files below `into`."""
    results = {}
    for number, name in enumerate(sorted(renderer.file.templates)):
        template = renderer.template_path(name)
        text = templates.render(template, variables)
        folder = into / f"{renderer.name.replace('/', '+')}.{number}"
        folder.mkdir(mode=0o700)
        path = folder / Path(template).name.removesuffix(ENGINE_SUFFIX)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        results[name] = Rendered(template, path, text)
    return results


def names_for(
    rendered: Mapping[str, Rendered], *, role: str, deployment: str, node: str, template_dir: Path
) -> dict[str, str]:
    """What `{{ NAME }}` may stand for in the commands of one render file."""
    names = {name: str(one.path) for name, one in rendered.items()}
    for name, one in rendered.items():
        names[f"files.{name}"] = names[f"templates.{name}"] = str(one.path)
    if len(rendered) == 1:
        names["tmp_file"] = str(next(iter(rendered.values())).path)
    names |= {"role": role, "deployment_id": deployment, "node": node, "template_dir": str(template_dir)}
    return names


def check_names(renderer: Renderer, names: Mapping[str, str], directory: Path) -> None:
    """Unknown names are found before the first command of any render file runs."""
    for command in renderer.commands:
        for text in command.texts():
            try:
                expand(text, names)
            except ManorError as error:
                raise BadRenderer(f"{directory / renderer.name}:1:1: {error}") from error


def execute(renderer: Renderer, task: Callable[[Callable[[str], bool]], Task], names: Mapping[str, str]) -> None:
    """Run the commands of one render file; the first failing one ends it."""
    watched = {
        expand(text, names): signature(Path(expand(text, names)))
        for command in renderer.commands
        for text in command.directories()
    }
    ready = task(lambda directory: signature(Path(directory)) != watched[directory])
    for command in renderer.commands:
        command.execute(ready)


def signature(directory: Path) -> str:
    """Changes with every name, content, link target and execute bit below; `absent` without the directory."""
    try:
        return build_index(directory).id
    except FileNotFoundError:
        return "absent"
    except (OSError, DeliveryError) as error:
        raise BadRenderer(f"{directory}: cannot be watched: {error}") from error
