"""What templates can do to a value beyond Jinja2's own filters: mostly, write it safely into another language."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml


class Failed(Exception):
    """A template says itself that something is wrong, or a value does not fit its place."""


def fail(text: str) -> None:
    """`{{ fail("no node has a database") }}`"""
    raise Failed(text)


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_refuse)


def _refuse(value: object) -> Any:
    str(value)  # an undefined name raises its own error here, which says more
    raise TypeError(f"{type(value).__name__} is no plain data")


def _to_yaml(value: object) -> str:
    """On one line, so that it fits behind any key."""
    _to_json(value)  # refuses what is no plain data
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**31)
    return text.removesuffix("\n").removesuffix("\n...")


def _nginx_quote(value: object) -> str:
    """One parameter of a directive. nginx has no way to write a dollar sign before a name."""
    text = str(value)
    if re.search(r"[\n\0]|\$[A-Za-z0-9_{]", text):
        raise Failed(f"{text!r} cannot be written into nginx's configuration")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _validate(value: object, regex: str) -> object:
    if not re.fullmatch(regex, str(value)):
        raise Failed(f"{value!r} does not match {regex!r}")
    return value


def _sorted_items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(value.items())


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "to_json": _to_json,
    "to_yaml": _to_yaml,
    "shell_quote": lambda value: shlex.quote(str(value)),
    "nginx_quote": _nginx_quote,
    "sha256": lambda value: hashlib.sha256(str(value).encode()).hexdigest(),
    "b64encode": lambda value: base64.b64encode(str(value).encode()).decode(),
    "validate": _validate,
    "sorted_items": _sorted_items,
}
