"""How numbers and tables are shown to people: plain columns, which a pipe can read too."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the last one as long as it is."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def size(size_bytes: float) -> str:
    """`12.3 MiB`."""
    for unit in BINARY:
        if abs(size_bytes) < 1024 or unit == BINARY[-1]:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError


def span(ms: float) -> str:
    """Under 90 s `Ns`, under 90 min `NmNs`, under a day `NhNm`, else `NdNh`."""
    seconds = int(ms // 1000)
    if seconds < 90:
        return f"{seconds}s"
    if seconds < 90 * 60:
        return f"{seconds // 60}m{seconds % 60}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600}h"


def ago(moment_ms: float | None) -> str:
    """How long ago, by this machine's clock."""
    return "-" if moment_ms is None else span(max(0, time.time() * 1000 - moment_ms))


def key(pairs: dict[str, str]) -> str:
    """`metric=rss pid=12`; a value with blanks is quoted."""
    return " ".join(f"{name}={_quoted(text)}" for name, text in pairs.items())


def _quoted(text: str) -> str:
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
