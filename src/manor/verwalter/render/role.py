"""Rendering a role: everything is read, rendered and checked, then the commands run in order."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from manor.verwalter.render.job import Job
from manor.verwalter.render.journal import Journal
from manor.verwalter.render.renderer import Rendered, Renderer, read_renderers, render
from manor.verwalter.render.task import Task
from manor.verwalter.render.templates import Templates
from manor.verwalter.render.watched import Watched


@dataclass(frozen=True, slots=True)
class _Ready:
    """A render file whose templates are rendered and whose commands are checked."""

    renderer: Renderer
    files: dict[str, Rendered]
    names: dict[str, str]


def render_role(job: Job, journal: Journal) -> None:
    """Raises RenderFailed; only a CommandFailed that is no Refused can have changed the machine."""
    templates = Templates(job.template_dir, job.roots)
    renderers = read_renderers(job.template_dir, job.roots, removed=job.removed)
    node = str(job.variables.get("node", ""))
    own = {"role": job.role, "deployment_id": job.deployment, "node": node, "template_dir": str(job.template_dir)}
    with tempfile.TemporaryDirectory(prefix="verwalter-render.") as private:
        ready = []
        for renderer in renderers:
            files = render(renderer, templates, job.variables, Path(private))
            names = renderer.names({name: str(one.path) for name, one in files.items()}, own)
            renderer.check(names, job.limits)
            ready.append(_Ready(renderer, files, names))
        for one in ready:
            _execute(job, journal, one)


def _execute(job: Job, journal: Journal, one: _Ready) -> None:
    journal.mark("ActionStart", one.renderer.name)
    for result in one.files.values():
        text = shown(result)
        if journal.keeps_files:
            journal.say(text)
        if job.show:
            print(text, flush=True)
    watched = Watched(one.renderer.directories(one.names), dry_run=job.dry_run)
    task = Task(
        role=job.role,
        deployment=job.deployment,
        names=one.names,
        directory=one.renderer.path.parent,
        dry_run=job.dry_run,
        say=journal.say,
        output=journal.descriptor,
        timeout_s=job.command_timeout_s,
        changed=watched.changed,
    )
    for command in one.renderer.commands:
        command.execute(task)
    journal.mark("ActionFinish", one.renderer.name)


def shown(result: Rendered) -> str:
    """A rendered file as a block of the log; of a secret one only its size and hash."""
    name = f'"{result.template}" -> "{result.path.name}"'
    text = result.text
    if result.is_secret:
        text = f"({len(text.encode())} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
    end = "" if text.endswith("\n") or not text else "\n"
    return f"+++ template start: {name} +++\n{text}{end}+++ template end: {name} +++"
