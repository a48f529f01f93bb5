"""Asking an agent over HTTP, for all words that do."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from manor.config.errors import ManorError

DEFAULT_URL: Final = "http://127.0.0.1:22682"
TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 256 << 20


class AgentRefused(ManorError):
    """the agent said no: rules: 1 to 100 are allowed, 0 given"""

    exit_status = 1


class AgentUnreachable(ManorError):
    """http://127.0.0.1:22682: connection refused; is cantal-agent running there? --url names another one"""

    exit_status = 3


class NotAuthorised(ManorError):
    """http://node1:22682: 401 a token is needed; --token-file names a file with one"""

    exit_status = 5


def add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=os.environ.get("CANTAL_URL", DEFAULT_URL), help="the agent to ask (default %(default)s)"
    )
    parser.add_argument("--token-file", type=Path, help="file with an access token (default ~/.config/manor/token)")
    parser.add_argument("--json", action="store_true", help="print the agent's answer as JSON")


class Agent:
    """One agent, as the options name it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._url = str(options.url).rstrip("/")
        self._token = _read_token(options.token_file)

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None, TIMEOUT_S)

    def post(self, path: str, body: Any, *, timeout_s: float = TIMEOUT_S) -> Any:
        return self._ask("POST", path, json.dumps(body).encode(), timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Any:
        request = urllib.request.Request(self._url + path, body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, ValueError) as error:
            raise AgentUnreachable(f"{self._url}: {_reason(error)}; --url names the agent to ask") from error

    def _refusal(self, error: urllib.error.HTTPError) -> ManorError:
        text = error.read(65536).decode("utf-8", "replace")
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            text = error.reason
        if error.code in {401, 403}:
            return NotAuthorised(f"{self._url}: {error.code} {text}; --token-file names a file with a token")
        return AgentRefused(f"the agent said no: {text}")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause).lower()


def _read_token(path: Path | None) -> str | None:
    """The token of the file; of the usual one only if it is there."""
    usual = Path.home() / ".config/manor/token"
    if path is None and not usual.exists():
        return None
    try:
        return (path or usual).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentRefused(f"{path or usual}: cannot be read: {error}; a file with one token is expected") from error
