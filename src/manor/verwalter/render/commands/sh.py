"""`!Sh`: a line for the shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from manor.verwalter.render.limits import Limits
from manor.verwalter.render.names import expand
from manor.verwalter.render.task import Task


class Sh(msgspec.Struct, frozen=True, kw_only=True, tag="Sh"):
    """`!Sh TEXT`: `sh -exc TEXT`. Variables of the schedule do not belong into it: the shell would read them."""

    content: ClassVar[str] = "text"
    text: str

    def texts(self) -> Iterable[str]:
        return (self.text,)

    def directories(self) -> Iterable[str]:
        return ()

    def refusal(self, names: Mapping[str, str], limits: Limits) -> str | None:
        return limits.command_refusal("sh")

    def execute(self, task: Task) -> None:
        text = expand(self.text, task.names)
        task.announce("Sh", text)
        if not task.dry_run:
            task.run(["/bin/sh", "-exc", text])
