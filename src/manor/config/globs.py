"""Relative patterns over files: `*`, `?`, `[…]` within a name, `**` for any depth, one pair of parentheses captures.

`services/(*).yaml` finds `services/web.yaml` and captures `web`. A leading dot must be written.
"""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path
from typing import Final

ENTRIES_MAX: Final = 100_000  # names looked at for one pattern
_DEPTH_MAX: Final = 32  # of directories below `**`


def check_relative(pattern: str) -> str | None:
    """What is wrong with a path or pattern that must stay below its directory; None if nothing is."""
    if not pattern:
        return "the path is missing; write it after the tag"
    if pattern.startswith("/"):
        return f'the path "{pattern}" is absolute; write it relative to this file'
    if ".." in pattern.split("/"):
        return f'the path "{pattern}" leads up by `..`; name a file beside this one or below'
    if "\0" in pattern:
        return "the path holds a NUL character; take it out"
    return None


def find(directory: Path, pattern: str) -> tuple[list[tuple[str, str | None]], list[Path]]:
    """Files that match: (path relative to the directory, captured part), sorted by path; and the directories listed.

    Raises:
        ValueError: parentheses that are not one pair, or too many names; the text says what would be right.
        OSError: a directory cannot be listed. One that is missing holds nothing.
    """
    plain, expression = _compiled(pattern)
    listed: list[Path] = []
    names = _walk(directory, "", plain.split("/"), listed, [ENTRIES_MAX], 0)
    found = []
    for name in sorted(set(names)):
        match = re.fullmatch(expression, name)
        if match is not None:
            found.append((name, match[1] if match.re.groups else None))
    return found, listed


def _compiled(pattern: str) -> tuple[str, str]:
    """The pattern without parentheses, and the regular expression of the whole with a group for them."""
    opening, closing = pattern.count("("), pattern.count(")")
    if (opening, closing) not in ((0, 0), (1, 1)) or pattern.find("(") > pattern.find(")"):
        raise ValueError(f'"{pattern}" needs exactly one pair of parentheses; write such as `dir/(*).yaml`')
    expression, plain, at = "", pattern.replace("(", "").replace(")", ""), 0
    while at < len(pattern):
        if pattern[at] in "()":
            expression += pattern[at]
            at += 1
        elif pattern.startswith("**", at):
            skip = 3 if pattern.startswith("**/", at) else 2
            expression += "(?:[^/]+/)*" if skip == 3 else ".*"
            at += skip
        elif pattern[at] == "*":
            expression += "[^/]*"
            at += 1
        elif pattern[at] == "?":
            expression += "[^/]"
            at += 1
        elif pattern[at] == "[" and "]" in pattern[at + 2 :]:
            end = pattern.index("]", at + 2) + 1
            inner = pattern[at + 1 : end - 1].replace("\\", "\\\\").replace("[", "\\[")
            expression += f"(?!/)[{'^' + inner[1:] if inner[0] == '!' else inner.replace('^', chr(92) + '^')}]"
            at = end
        else:
            expression += re.escape(pattern[at])
            at += 1
    return plain, expression


def _walk(directory: Path, prefix: str, parts: list[str], listed: list[Path], left: list[int], depth: int) -> list[str]:
    """Files below `directory / prefix` that fit the parts of a pattern; `left` counts down the names looked at."""
    here = directory / prefix if prefix else directory
    part, rest = parts[0], parts[1:]
    if part in (".", ""):
        return _walk(directory, prefix, rest, listed, left, depth) if rest else []
    if not any(c in part for c in "*?["):
        name = prefix + part
        if rest:
            return _walk(directory, name + "/", rest, listed, left, depth)
        return [name] if (directory / name).is_file() else []
    listed.append(here)
    try:
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    left[0] -= len(entries)
    if left[0] < 0:
        raise ValueError(f"more than {ENTRIES_MAX:,} names to look at; use a narrower pattern")
    names: list[str] = []
    if part == "**" and rest:
        names += _walk(directory, prefix, rest, listed, left, depth)
    for entry in entries:
        if entry.name.startswith(".") and not part.startswith("."):
            continue
        if part == "**":
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH_MAX:
                    names += _walk(directory, f"{prefix}{entry.name}/", parts, listed, left, depth + 1)
            elif not rest and entry.is_file():
                names.append(prefix + entry.name)
        elif fnmatch.fnmatchcase(entry.name, part):
            if rest and entry.is_dir():
                names += _walk(directory, f"{prefix}{entry.name}/", rest, listed, left, depth)
            elif not rest and entry.is_file():
                names.append(prefix + entry.name)
    return names
