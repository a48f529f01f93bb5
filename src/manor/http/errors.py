"""HttpProblem: an answer that is an error. Raise it in a handler; the service words it in the agent's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from manor.config.errors import ManorError

CODES: Final[Mapping[int, str]] = {
    400: "bad-request",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    409: "conflict",
    413: "too-large",
    415: "content-type",
    416: "range",
    422: "unprocessable",
    426: "websocket-only",
    429: "too-many",
    431: "headers-too-large",
    500: "bug",
    501: "not-supported",
    503: "unavailable",
    504: "timeout",
    507: "no-space",
}


class HttpProblem(ManorError):
    """A status from 400 up, one line for people, one word for programs.

    Args:
        code: the word; by default the status's own from `CODES`.
        details: further fields of the answer's document, such as `position` or `leader`.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code or CODES.get(status, "error")
        self.details = dict(details or {})
        self.headers = dict(headers or {})
