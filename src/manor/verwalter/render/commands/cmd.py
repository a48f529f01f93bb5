"""`!Cmd` and `!RootCommand`: run a program, without a shell."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import msgspec

from manor.config.units import Length
from manor.verwalter.render.limits import Limits
from manor.verwalter.render.names import expand
from manor.verwalter.render.task import Task

SUDO = ("/usr/bin/sudo", "-n")


class Cmd(msgspec.Struct, frozen=True, kw_only=True, tag="Cmd"):
    """`!Cmd [PROGRAM, ARGUMENT...]`: run it as we are."""

    content: ClassVar[str] = "argv"
    argv: Annotated[tuple[str, ...], Length(1)]

    def texts(self) -> Iterable[str]:
        return self.argv

    def directories(self) -> Iterable[str]:
        return ()

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        return limits.command_refusal(expand(self.argv[0], names))

    def execute(self, task: Task) -> None:
        argv = [expand(text, task.names) for text in self.argv]
        task.announce("Cmd", str(argv))
        if not task.dry_run:
            task.run(argv)


class RootCommand(msgspec.Struct, frozen=True, kw_only=True, tag="RootCommand"):
    """`!RootCommand [PROGRAM, ARGUMENT...]`: run it as root, by sudo where we are not."""

    content: ClassVar[str] = "argv"
    argv: Annotated[tuple[str, ...], Length(1)]

    def texts(self) -> Iterable[str]:
        return self.argv

    def directories(self) -> Iterable[str]:
        return ()

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        return limits.command_refusal(expand(self.argv[0], names))

    def execute(self, task: Task) -> None:
        argv = [expand(text, task.names) for text in self.argv]
        task.announce("RootCommand", str(argv))
        if not task.dry_run:
            task.run(argv if os.geteuid() == 0 else [*SUDO, *argv])
