"""Tables for people: on a terminal as rich draws them, in a pipe plain aligned columns."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if sys.stdout.isatty():
        _print_drawn(head, rows)
    else:
        print(plain(head, rows))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values, a line each."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name.ljust(width)}  {value}".rstrip())


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the last one as long as it is."""
    lines = [[" ".join(cell.split()) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _print_drawn(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE  # takes its time to load, and a pipe does not need it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for name in head:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))  # as Text: square brackets in a value are no markup
    Console().print(table)


def ago(moment_ms: float | None) -> str:
    """How long ago, by this machine's clock; `-` if never."""
    return "-" if not moment_ms else span_ms(max(0.0, time.time() * 1000 - moment_ms))


def span_ms(milliseconds: float) -> str:
    """`12s`, `3m`, `5h`, `2d`: one unit is enough to look at."""
    seconds = milliseconds / 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def joined(names: Sequence[object]) -> str:
    return ", ".join(map(str, names)) or "-"


def short(hash: str | None) -> str:
    """The first letters of a hash or id."""
    return hash[:8] if hash else "-"
