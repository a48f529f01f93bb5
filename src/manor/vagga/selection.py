"""Which files of a directory a step takes: by two regular expressions, or by glob rules. Pure: paths in, verdicts out.

Rules are weighed like this. A rule matches a path *exactly* or, by naming a directory above it, *by inheritance*.
Exact beats inherited; of two exact ones a rule that begins at the source (`/a/*.py`) beats one that holds at any depth
(`*.py`), being the more precise; among equals the later rule wins. A directory that is excluded is not entered, unless
a later including rule names a way through it, and one that no including rule can reach is not entered either.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

DEFAULT_IGNORE: Final = r"(^|/)\.(git|hg|svn|vagga)($|/)|~$|\.bak$|\.orig$|^#.*#$"
DEFAULT_RULES: Final = ("!.git/", "!.hg/", "!.svn/", "!.vagga/", "!*.bak", "!*.orig", "!*~", "!#*#", "!.#*")

RULES_MAX: Final = 1_000  # every path is held against every rule


class Selection(Protocol):
    """Paths are relative to the source, their parts separated by `/`."""

    def takes(self, path: str, *, is_directory: bool) -> bool:
        """Is this path itself selected? (Directories come along with what is selected below them anyway.)"""
        ...

    def enters(self, path: str) -> bool:
        """Can anything below this directory be selected?"""
        ...


@dataclass(frozen=True, slots=True)
class ByRegex:
    """Ignored if `ignore` is found in the path; else taken if there is no `include` or that one is found."""

    ignore: re.Pattern[str]
    include: re.Pattern[str] | None = None

    def takes(self, path: str, *, is_directory: bool) -> bool:
        if self.ignore.search(path):
            return False
        if self.include is None:
            return not is_directory  # a directory comes along with its content
        return self.include.search(path) is not None

    def enters(self, path: str) -> bool:
        return not self.ignore.search(path)


class _Match(enum.IntEnum):
    """How precisely a rule names a path; a higher one wins."""

    NO = 0
    INHERITED = 1
    ANY_DEPTH = 2
    EXACT = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed rule.

    Attributes:
        exact: matches the whole of a path that the rule names.
        below: matches the beginning of a path below a directory that the rule names.
        parts: one pattern for each part of the path, None for `**`; empty for `/` itself.
        anchored: the first part is an entry of the source directory.
    """

    includes: bool
    anchored: bool
    directories_only: bool
    exact: re.Pattern[str]
    below: re.Pattern[str]
    parts: tuple[re.Pattern[str] | None, ...]

    def match(self, path: str, *, is_directory: bool) -> _Match:
        """How this rule names the path."""
        if (is_directory or not self.directories_only) and self.exact.fullmatch(path):
            return _Match.EXACT if self.anchored else _Match.ANY_DEPTH
        return _Match.INHERITED if self.below.match(path) else _Match.NO

    def may_match_below(self, directory: str) -> bool:
        """Could this rule name something below the directory?"""
        return not self.anchored or _glob_begins(self.parts, directory.split("/"))

    def leads_through(self, directory: str) -> bool:
        """Does this rule name a way through the directory, part by part (`**` names nothing)?"""
        plain = next((n for n, part in enumerate(self.parts) if part is None), len(self.parts))
        depth = directory.count("/") + 1
        return self.anchored and depth < len(self.parts) and plain >= depth and self.may_match_below(directory)


@dataclass(frozen=True, slots=True)
class ByRules:
    """Selection by glob rules. No rules at all: everything."""

    rules: tuple[Rule, ...]

    def takes(self, path: str, *, is_directory: bool) -> bool:
        match, rule, _ = self._strongest(path, is_directory=is_directory)
        if is_directory:  # `/dir/` brings even an empty directory, nothing else does
            return rule is not None and rule.includes and rule.directories_only and match >= _Match.ANY_DEPTH
        return rule is not None and rule.includes

    def enters(self, path: str) -> bool:
        _, rule, position = self._strongest(path, is_directory=True)
        if rule is not None and rule.includes:
            return True
        if rule is not None:
            return any(r.includes and r.leads_through(path) for r in self.rules[position + 1 :])
        return any(r.includes and r.may_match_below(path) for r in self.rules)

    def _strongest(self, path: str, *, is_directory: bool) -> tuple[_Match, Rule | None, int]:
        best: tuple[_Match, Rule | None, int] = (_Match.NO, None, -1)
        for position, rule in enumerate(self.rules):
            match = rule.match(path, is_directory=is_directory)
            if match is not _Match.NO and match >= best[0]:
                best = match, rule, position
        return best


def parse_rules(texts: Sequence[str], *, with_defaults: bool) -> ByRules:
    """Rules as written in vagga.yaml; ValueError says which one is wrong and what would be right."""
    if len(texts) > RULES_MAX:
        raise ValueError(f"{len(texts)} rules are more than {RULES_MAX}")
    written = tuple(map(parse_rule, texts)) or (parse_rule("/"),)
    defaults = tuple(map(parse_rule, DEFAULT_RULES)) if with_defaults else ()
    return ByRules(defaults + written)


def parse_rule(text: str) -> Rule:
    """`[!]GLOB[/]`; a backslash takes the meaning from `! * ? \\`."""
    includes = not text.startswith("!")
    glob = text if includes else text[1:]
    anchored = glob.startswith("/")
    if includes and not anchored:
        raise ValueError(f"the rule `{text}` is relative; rules that include begin with `/`")
    words = [word for word in glob.split("/") if word]
    if not words and not anchored:
        raise ValueError(f"the rule `{text}` is empty; name a file or a pattern")
    if ".." in words or "." in words:
        raise ValueError(f"the rule `{text}` has a part `.` or `..`; name files as they lie below the source")
    patterns = [None if word == "**" else _part(word) for word in words]
    named = ("" if anchored else "(?:.*/)?") + _joined(patterns)
    return Rule(
        includes=includes,
        anchored=anchored,
        directories_only=glob.endswith("/") and bool(words),
        exact=re.compile(named, re.DOTALL),
        below=re.compile(f"{named}/" if words else "", re.DOTALL),
        parts=tuple(None if pattern is None else re.compile(pattern, re.DOTALL) for pattern in patterns),
    )


def _part(word: str) -> str:
    """One part of a glob as a regular expression."""
    out, escaped = "", False
    for c in word:
        if escaped:
            out, escaped = out + re.escape(c), False
        elif c == "\\":
            escaped = True
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c))
    if escaped:
        raise ValueError(f"`{word}` ends with a backslash; `\\\\` means the character itself")
    return out


def _joined(patterns: Sequence[str | None]) -> str:
    """The expression for a whole path: `**` is any number of parts, none included."""
    out, slash = "", ""
    for number, pattern in enumerate(patterns):
        if pattern is not None:
            out, slash = out + slash + pattern, "/"
        elif number + 1 < len(patterns):
            out, slash = out + slash + "(?:[^/]+/)*", ""
        else:
            out += "(?:/[^/]+)*" if slash else ".*"
    return out


def _glob_begins(pattern: tuple[re.Pattern[str] | None, ...], parts: Sequence[str]) -> bool:
    """Could a path that begins with these parts and goes on match the pattern?"""
    if not pattern:
        return False
    if not parts or pattern[0] is None:
        return True
    return pattern[0].fullmatch(parts[0]) is not None and _glob_begins(pattern[1:], parts[1:])


@lru_cache(maxsize=64)
def selection(
    *,
    ignore_regex: str | None = None,
    include_regex: str | None = None,
    rules: tuple[str, ...] | None = None,
    no_default_rules: bool = False,
) -> Selection:
    """The selection that the options of a step describe. Raises ValueError for a bad rule or expression."""
    if rules is not None:
        return parse_rules(rules, with_defaults=not no_default_rules)
    ignore = _compiled("ignore-regex", DEFAULT_IGNORE if ignore_regex is None else ignore_regex)
    include = None if include_regex is None else _compiled("include-regex", include_regex)
    return ByRegex(ignore, include)


def _compiled(option: str, expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(f"`{option}` is no regular expression: {error}") from None
