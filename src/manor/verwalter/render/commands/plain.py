"""The commands that may stand anywhere, also inside `!Condition`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from manor.config.units import UnsupportedTags
from manor.verwalter.render.commands.cmd import Cmd, RootCommand
from manor.verwalter.render.commands.copy import Copy
from manor.verwalter.render.commands.sh import Sh

NOT_YET = ("SplitText", "CleanFiles", "PeekLog")

PlainCommand: TypeAlias = Annotated[Copy | Cmd | RootCommand | Sh, UnsupportedTags(NOT_YET)]
