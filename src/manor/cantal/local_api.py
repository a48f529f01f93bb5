"""The HTTP resources that need nothing but this machine's collector, as plain functions.

The agent registers each row of ROUTES with its service. A handler gets the collector and the decoded JSON body (None
for GET) and returns plain data; `cbor`, where given, makes the legacy binary form instead, as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from manor.cantal.collector import Collector

Handler: TypeAlias = Callable[[Collector, Any], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One resource. Errors are raised as `query.errors.BadQuery` (400) and `QueryTooBig` (422)."""

    method: str
    path: str
    answer: Handler
    legacy_cbor: Callable[[Collector, Any], bytes] | None = None
    blocking: bool = False  # may take more than a moment: call it in a thread


ROUTES: Final[tuple[Route, ...]] = ()
