"""What a handler sees of a request and what it may answer. Nothing here does I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.trust.tokens import Identity


@dataclass(frozen=True, slots=True)
class Request:
    """One request that passed every check of the service."""

    method: str  # GET for a HEAD too
    path: str  # decoded, without the suffix that chose the format
    format: Format
    parameters: Mapping[str, str]  # of the route's pattern, decoded
    query: Mapping[str, str]  # of the query string, decoded; of a name given twice the first
    headers: Mapping[str, str]  # looked up without regard to case
    body: bytes
    remote: str  # the other side's IP address
    identity: Identity | None  # None only where the route is open to everybody

    def json(self) -> Any:
        """The body as plain data.

        Raises:
            HttpProblem: 400 with the position of what is wrong.
        """
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            text = f"body:{error.lineno}:{error.colno}: {_lower(error.msg)}; a JSON document would be right"
            raise HttpProblem(400, text, details={"position": error.pos}) from error
        except UnicodeDecodeError as error:
            text = f"the body is no UTF-8 at byte {error.start}; JSON in UTF-8 would be right"
            raise HttpProblem(400, text, details={"position": error.start}) from error
        except RecursionError as error:
            raise HttpProblem(400, "the body is nested too deeply", details={"position": 0}) from error
        except ValueError as error:  # NaN, or a number of a thousand digits
            raise HttpProblem(400, f"the body is no JSON: {error}", details={"position": 0}) from error


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that is more than a document with status 200. Exactly one of the three contents is used."""

    data: Any = None  # encoded in the format that was asked for
    body: bytes | None = None  # sent as it is, with `content_type`
    file: Path | None = None  # sent from the disk; ranges and conditions work
    status: int = 200
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A changing request and how it ended, for whoever keeps an audit."""

    method: str
    path: str  # raw, with the query
    remote: str
    identity: Identity | None
    body: bytes  # empty if it was refused before its body was read
    status: int


def _no_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON value")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
