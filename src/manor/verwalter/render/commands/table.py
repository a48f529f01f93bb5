"""Every command that a render file may hold."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from manor.config.units import UnsupportedTags
from manor.verwalter.render.commands.cmd import Cmd, RootCommand
from manor.verwalter.render.commands.condition import Condition
from manor.verwalter.render.commands.copy import Copy
from manor.verwalter.render.commands.plain import NOT_YET
from manor.verwalter.render.commands.sh import Sh

AnyCommand: TypeAlias = Annotated[Copy | Cmd | RootCommand | Sh | Condition, UnsupportedTags(NOT_YET)]
