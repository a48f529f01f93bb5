"""Which handler a path belongs to. Pure: a table, and a function that looks into it.

A pattern is a path whose components may be `{name}` (one component) and whose last one may be `{name*}` (the rest).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias
from urllib.parse import unquote

from manor.http.formats import Format, split_suffix
from manor.http.message import Request

Handler: TypeAlias = Callable[[Request], Any | Awaitable[Any]]


class Suffixes(Enum):
    """What a suffix that is no format means."""

    JSON = "the same as none"
    NOT_FOUND = "no such path"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one pattern.

    `access` has one letter for each permission that suffices (v, o, d, a, c), or is `-`: open to everybody.
    A blocking handler is called in a thread. `changes` is false for a POST that only asks.
    """

    method: str
    pattern: str
    handler: Handler
    access: str = "v"
    body_bytes_max: int | None = None
    json_body: bool = True  # false: the body is bytes, whatever its content type
    blocking: bool = False
    changes: bool = True

    def __post_init__(self) -> None:
        assert self.access == "-" or (self.access and set(self.access) <= set("vodac")), self.access
        assert self.pattern.startswith("/"), self.pattern


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: the routes by method, and what the path said."""

    routes: Mapping[str, Route]
    path: str
    parameters: Mapping[str, str]
    format: Format


class RouteTable:
    """All routes of a service. Literal components win over parameters."""

    def __init__(self) -> None:
        self._literal: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[tuple[str, ...], dict[str, Route]]] = []

    def add(self, route: Route) -> None:
        methods = self._methods(route.pattern)
        assert route.method not in methods, f"{route.method} {route.pattern} is here already"
        methods[route.method] = route

    def find(self, path: str, formats: Collection[Format], suffixes: Suffixes) -> Found | None:
        """Look up a raw (still percent-encoded) path: as it is, then without the suffix that names a format."""
        asked = split_suffix(path, formats)
        if asked is not None:
            found = self._find(asked[0], asked[1])
            if found is not None:
                return found
        found = self._find(path, Format.JSON)
        if found is None and asked is None and suffixes is Suffixes.JSON and "." in path.rpartition("/")[2]:
            found = self._find(path.rpartition(".")[0], Format.JSON)
        return found

    def _find(self, path: str, format_: Format) -> Found | None:
        components = _decoded(path)
        if components is None:
            return None
        decoded = "/".join(components)
        literal = self._literal.get(decoded)
        if literal is not None:
            return Found(literal, decoded, {}, format_)
        for pattern, routes in self._patterns:
            parameters = _match(pattern, components)
            if parameters is not None:
                return Found(routes, decoded, parameters, format_)
        return None

    def _methods(self, pattern: str) -> dict[str, Route]:
        if "{" not in pattern:
            return self._literal.setdefault(pattern, {})
        components = tuple(pattern.split("/"))
        for known, routes in self._patterns:
            if known == components:
                return routes
        self._patterns.append((components, {}))
        self._patterns.sort(key=lambda entry: [_vagueness(component) for component in entry[0]])
        return self._methods(pattern)


def allowed_methods(routes: Iterable[str]) -> str:
    """The value of `Allow`."""
    methods = set(routes)
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def _decoded(path: str) -> list[str] | None:
    """The path's components; None if one of them could be taken for another path by whoever uses it."""
    components = [unquote(component, errors="surrogateescape") for component in path.split("/")]
    if any("/" in c or "\0" in c or c in (".", "..") for c in components):
        return None
    return components


def _vagueness(component: str) -> int:
    return 2 if component.endswith("*}") else 1 if component.startswith("{") else 0


def _match(pattern: tuple[str, ...], components: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for place, wanted in enumerate(pattern):
        if wanted.endswith("*}"):
            rest = "/".join(components[place:])
            return parameters | {wanted[1:-2]: rest} if rest else None
        if place >= len(components):
            return None
        if wanted.startswith("{"):
            if not components[place]:
                return None
            parameters[wanted[1:-1]] = components[place]
        elif wanted != components[place]:
            return None
    return parameters if len(components) == len(pattern) else None
