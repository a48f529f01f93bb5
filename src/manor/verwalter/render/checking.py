"""What is wrong with the templates of a node, found without rendering them: for `verwalter --check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from manor.config.errors import ManorError
from manor.verwalter.render.errors import BadTemplate
from manor.verwalter.render.limits import Limits
from manor.verwalter.render.renderer import REMOVE_SUFFIXES, SUFFIXES, read_renderers
from manor.verwalter.render.templates import Templates

OWN_NAMES = ("role", "deployment_id", "node", "template_dir")
SOME_VALUE = "/x"  # a path, since most names are


def template_problems(config_dir: Path) -> Iterator[str]:
    """One line a problem, for every directory below `templates/` that holds render files."""
    roots = (config_dir / "templates", config_dir / ".store")
    for directory in sorted(template_directories(config_dir / "templates")):
        yield from _problems(directory, roots)


def template_directories(templates: Path) -> Iterator[Path]:
    """The uppermost directories with render files; what is below them belongs to them."""
    for folder, folders, names in os.walk(templates, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name.endswith((*SUFFIXES, *REMOVE_SUFFIXES)) for name in names):
            folders.clear()
            yield Path(folder)
        elif len(Path(folder).relative_to(templates).parts) >= 4:  # `template` names at most four components
            folders.clear()


def _problems(directory: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    try:
        templates = Templates(directory, roots)
        renderers = read_renderers(directory, roots)
    except BadTemplate as error:
        yield from str(error).splitlines()
        return
    for renderer in renderers:
        try:
            for template, position in renderer.templates.values():
                if template not in templates:
                    raise BadTemplate(f"{position}: no template `{template}` here")
            files = dict.fromkeys(renderer.templates, SOME_VALUE)
            renderer.check(renderer.names(files, dict.fromkeys(OWN_NAMES, SOME_VALUE)), Limits())
        except ManorError as error:
            yield str(error)
