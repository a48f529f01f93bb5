"""The names of sandboxes, processes, instances and containers, and how one is made from another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
COMMAND_PREFIX: Final = "cmd."


def is_plain_name(name: str) -> bool:
    return PLAIN_NAME.fullmatch(name) is not None


def is_process_name(name: str) -> bool:
    return is_plain_name(name) and not name.startswith(COMMAND_PREFIX)


@dataclass(frozen=True, slots=True, order=True)
class InstanceName:
    """`SANDBOX/PROCESS.INDEX`; for a command PROCESS is `cmd.NAME` and INDEX the pid of its lithos_cmd."""

    sandbox: str
    process: str
    index: int

    def __str__(self) -> str:
        return f"{self.sandbox}/{self.process}.{self.index}"

    @property
    def container_id(self) -> str:
        """Slash and colon are not legal in the ids of runtimes."""
        return f"{self.sandbox}+{self.process}.{self.index}"

    @property
    def cgroup(self) -> str:
        return f"{self.sandbox}:{self.process}.{self.index}.scope"

    @property
    def entry(self) -> str:
        """The processes-file entry this is an instance of, as `after` names it: SANDBOX/PROCESS."""
        return f"{self.sandbox}/{self.process}"

    @property
    def is_command(self) -> bool:
        return self.process.startswith(COMMAND_PREFIX)

    @classmethod
    def parse(cls, text: str) -> InstanceName:
        """Raises ValueError when the text is no instance name."""
        sandbox, slash, rest = text.partition("/")
        process, dot, index = rest.rpartition(".")
        if not (slash and dot and is_plain_name(sandbox) and is_plain_name(process) and index.isdecimal()):
            raise ValueError(f"`{text}` is not an instance name; it looks like `shop/web.0`")
        return cls(sandbox, process, int(index))
