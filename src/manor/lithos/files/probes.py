"""Probes: how lithos finds out that an instance is ready, or no longer well."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec

from manor.config.units import Pattern, Range, Seconds
from manor.lithos.files.ranges import Span, span_up_to
from manor.lithos.files.sandbox import PlainAbsolute

PROBE_KINDS: Final = ("tcp", "http", "exec", "notify", "file")
NOTIFY_PATH: Final = "/dev/.lithos-notify"

PortText = Annotated[str, Pattern(r"\d{1,5}|@\{[^}]*\}", "write a port 1..65535 or `@{variable}`")]
ProbeSeconds = Annotated[Seconds, Range(0.01, 86400)]


class HttpProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Succeeds when a response with one of the status codes arrives. No redirect is followed."""

    port: PortText
    path: Annotated[str, Pattern(r"/\S*", "write a path that starts with `/`, without blanks")] = "/"
    status: tuple[Annotated[Span, span_up_to(599)], ...] = (Span(200, 399),)
    host: Annotated[str, Pattern(r"[^\s/]+", "write a host name for the Host header")] | None = None


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of the five kinds, and its times."""

    tcp: PortText | None = None
    http: HttpProbe | None = None
    exec: tuple[str, ...] | None = None
    notify: Literal["systemd"] | None = None
    file: PlainAbsolute | None = None
    timeout: ProbeSeconds = 1.0
    interval: ProbeSeconds | None = None
    failures: Annotated[int, Range(1, 1_000_000)] = 3
    deadline: ProbeSeconds = 60.0

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        given = [kind for kind in PROBE_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(f"`{kind}`" for kind in given) or "none"
            yield (), f"a probe has exactly one of {', '.join(PROBE_KINDS)}; found {found}"
        if self.exec is not None and (not self.exec or not self.exec[0].startswith("/")):
            yield ("exec",), "the command is a list whose first item is an absolute path"
        for path, text in self._ports():
            if text.isdecimal() and not 1 <= int(text) <= 65535:
                yield path, f"port {text} does not exist; ports are 1..65535"
        if self.http is not None:
            for index, status in enumerate(self.http.status):
                if status.low < 100:
                    yield ("http", "status", index), f"{status.low} is no HTTP status; they are 100..599"

    def _ports(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.tcp is not None:
            yield ("tcp",), self.tcp
        if self.http is not None:
            yield ("http", "port"), self.http.port

    @property
    def kind(self) -> str:
        return next(kind for kind in PROBE_KINDS if getattr(self, kind) is not None)

    @property
    def port(self) -> str | None:
        """The port of a tcp or http probe, as written."""
        return self.http.port if self.http is not None else self.tcp

    def describe(self) -> str:
        """What an error message calls this probe."""
        value = self.http.port + self.http.path if self.http else getattr(self, self.kind)
        return f"{self.kind} probe {value if isinstance(value, str) else json.dumps(value)}"
