"""Who this node is: its machine id and its names."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError

MACHINE_ID_FILE: Final = Path("/etc/machine-id")

_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")


class BadMachineId(ManorError):
    """/etc/machine-id:1:1: `uninitialized` is no machine id; 32 hexadecimal digits would be right"""

    exit_status = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """What this node calls itself, in packets, in the schedule and to people."""

    id: str
    hostname: str  # key of this node in `schedule.nodes`
    name: str
    cluster: str
    dc: str
    host: str  # listening address
    port: int

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def machine_id(text: str | None, file: Path = MACHINE_ID_FILE) -> str:
    """The id given by a flag, else the machine's own. Raises BadMachineId."""
    where = "--override-machine-id"
    if text is None:
        where = f"{file}:1:1"
        try:
            text = file.read_text(errors="replace").strip()
        except OSError as error:
            raise BadMachineId(f"{where}: {error.strerror}; `systemd-machine-id-setup` makes one") from error
    found = text.strip().lower()
    if _MACHINE_ID.fullmatch(found) is None:
        raise BadMachineId(f"{where}: `{text[:40]}` is no machine id; 32 hexadecimal digits would be right")
    return found


def full_name(hostname: str) -> str:
    """The qualified name if it resolves, else the host name."""
    name = socket.getfqdn(hostname)
    return name if "." in name and name != "localhost.localdomain" else hostname
