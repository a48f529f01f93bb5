"""What every subcommand works with: the node or leader to ask, and how to print."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from manor.verwalter.ctl.client import Client
from manor.verwalter.ctl.errors import BadUsage

TOKEN_BYTES_MAX: Final = 256


@dataclass(frozen=True)
class Session:
    url: str
    token_file: Path | None
    ca: Path | None
    timeout_s: float
    json: bool
    leader: bool

    @cached_property
    def client(self) -> Client:
        """The node asked, or the leader where that is wanted."""
        return self.node.leader() if self.leader else self.node

    @cached_property
    def node(self) -> Client:
        """The node of `--url`."""
        return Client(self.url, read_token(self.token_file), self.ca, self.timeout_s)

    def print_json(self, document: Any) -> None:
        print(json.dumps(document, indent=2, ensure_ascii=False))


def read_token(file: Path | None) -> str | None:
    """Of the file, else of $VERWALTER_TOKEN (the token itself, or a path), else of ~/.config/manor/token if that is
    there. Raises BadUsage."""
    told = os.environ.get("VERWALTER_TOKEN")
    if file is None and told and "/" not in told:
        return _checked(told, "$VERWALTER_TOKEN")
    path = file or (Path(told) if told else None)
    default = Path.home() / ".config/manor/token"
    try:
        content = (path or default).read_bytes()[: 2 * TOKEN_BYTES_MAX]
    except FileNotFoundError:
        if path is None:
            return None
        raise BadUsage(f"{path}: no such file; it would hold a token") from None
    except OSError as error:
        raise BadUsage(f"{path or default}: {error.strerror}") from error
    return _checked(content.decode(errors="replace").strip(), str(path or default))


def _checked(token: str, source: str) -> str:
    if not token or len(token) > TOKEN_BYTES_MAX or any(not 0x21 <= ord(letter) <= 0x7E for letter in token):
        raise BadUsage(f"{source}: holds no token; one line as `verwalter-ctl token create` prints it")
    return token
