"""The texts of `vagga` alone and of `vagga _list`. Pure: entries in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

NAME_WIDTH: Final = 19
FIRST_HEADING: Final = "Available commands"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing a user can call, or a container."""

    name: str
    description: str = ""
    group: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""  # the file it comes from
    kind: str = "command"

    @property
    def hidden(self) -> bool:
        return self.name.startswith("_")


def overview(entries: Iterable[Entry]) -> str:
    """What `vagga` without a command prints: headings with their commands, hidden ones left out."""
    shown = sorted((e for e in entries if not e.hidden), key=lambda e: e.name)
    names = {e.name for e in shown}
    groups: dict[str, list[Entry]] = {"": []}
    for entry in shown:
        groups.setdefault(entry.group, []).append(entry)
    blocks = [
        f"{heading or FIRST_HEADING}:\n" + "".join(_overview_lines(e, names) for e in members)
        for heading, members in groups.items()
        if members
    ]
    return "\n".join(blocks)


def _overview_lines(entry: Entry, names: set[str]) -> str:
    lines = entry.description.strip().splitlines()
    aliases = [a for a in entry.aliases if a not in names]
    if aliases:
        lines.append(f"(aliases: {', '.join(aliases)})")
    if not lines:
        return f"    {entry.name}\n"
    if len(entry.name) > NAME_WIDTH:
        first, rest = f"    {entry.name}\n", lines
    else:
        first, rest = f"    {entry.name:<{NAME_WIDTH}} {lines[0]}".rstrip() + "\n", lines[1:]
    return first + "".join(f"{'':24}{line}".rstrip() + "\n" for line in rest)


def plain(entries: Iterable[Entry], *, aliases: bool = True, hidden: bool = False, verbose: bool = False) -> str:
    """`vagga _list`: name, description; aliases as lines of their own."""
    lines = []
    for entry in with_aliases(entries) if aliases else sorted(entries, key=lambda e: e.name):
        if entry.hidden and not hidden:
            continue
        first, *rest = entry.description.strip().splitlines() or [""]
        source = f"  ({entry.source})" if verbose and entry.source else ""
        lines.append(f"{entry.name:<{NAME_WIDTH}} {first}{source}")
        lines += [f"{'':20}{line}" for line in rest]
    return "".join(f"{line}\n" for line in lines)


def zsh(entries: Iterable[Entry], *, hidden: bool = False) -> str:
    """`name:first line` for zsh's completion."""
    shown = [e for e in with_aliases(entries) if hidden or not e.hidden]
    return "".join(f"{e.name}:{(e.description.strip().splitlines() or [''])[0]}\n" for e in shown)


def with_aliases(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Every entry under each of its names, sorted; a command wins over an alias of the same name."""
    by_name = {e.name: e for e in entries}
    extra = {
        alias: Entry(name=alias, description=e.description, group=e.group, source=e.source, kind="alias")
        for e in by_name.values()
        for alias in e.aliases
        if alias not in by_name
    }
    return sorted([*by_name.values(), *extra.values()], key=lambda e: e.name)
