"""`!Condition`: do something only if a directory has changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from manor.verwalter.render.commands.interface import RenderCommand
from manor.verwalter.render.commands.plain import PlainCommand
from manor.verwalter.render.limits import Limits
from manor.verwalter.render.names import expand
from manor.verwalter.render.task import Task


class Condition(msgspec.Struct, frozen=True, kw_only=True, tag="Condition"):
    """`!Condition {dirs-changed, commands}`: the commands run if a directory differs from before the first command."""

    dirs_changed: tuple[str, ...]
    commands: tuple[PlainCommand, ...]

    def texts(self) -> Iterable[str]:
        return (*self.dirs_changed, *(text for command in self._inner for text in command.texts()))

    def directories(self) -> Iterable[str]:
        return self.dirs_changed

    @property
    def _inner(self) -> tuple[RenderCommand, ...]:
        return self.commands

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        return next(filter(None, (command.refusal(names, limits) for command in self._inner)), None)

    def execute(self, task: Task) -> None:
        directories = [expand(text, task.names) for text in self.dirs_changed]
        shown = f"{{dirs-changed: {directories}}}"
        if task.dry_run:
            task.announce("Condition", f"{shown}, then possibly:")
        elif not any(task.changed(directory) for directory in directories):
            task.say(f"Condition: {shown} unchanged")
            return
        else:
            task.announce("Condition", shown)
        for command in self._inner:
            command.execute(task)
