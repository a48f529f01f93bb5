"""What libyaml says about bytes that are no YAML, in words that tell what to do."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Final

from yaml import YAMLError

from manor.config.errors import Position, shortened

_EXOTIC_BREAKS: Final = ("\r", "\x85", "\u2028", "\u2029")  # end a line for YAML, not for every editor

# a piece of libyaml's message -> what we say
_ADVICE: Final = (
    ("mapping values are not allowed", "a `:` is not allowed here; check the indentation, or put the text in quotes"),
    ("expected alphabetic or numeric character", "`*` and `&` begin an alias or an anchor; put other text in quotes"),
    ("found unexpected ':'", "a `:` needs a blank behind it; or put the text in quotes"),
    ("could not find expected ':'", "a key without its `:`; write `name: value`"),
    (
        "did not find expected ',' or ']'",
        "a list in brackets is not closed; put `,` between the items and `]` at the end",
    ),
    (
        "did not find expected ',' or '}'",
        "a mapping in braces is not closed; put `,` between the pairs and `}` at the end",
    ),
    ("did not find expected '-' indicator", "this does not go on with the list before it; check the indentation"),
    ("did not find expected key", "this does not go on with the mapping before it; check the indentation"),
    ("block sequence entries are not allowed", "a list may not begin here; put `-` on a line of its own"),
    ("unexpected end of stream", "the file ends inside a quoted text; close the quotation mark"),
    ("unexpected document indicator", "a document ends inside a quoted text; close the quotation mark"),
    ("unknown escape character", "no such escape in double quotes; write `\\\\` for a backslash, or use single quotes"),
    ("invalid Unicode character escape", "this escape is no character; write `\\u` and four hexadecimal digits"),
    ("did not find expected hexdecimal", "this escape is no character; write `\\u` and four hexadecimal digits"),
    ("undefined tag handle", "this tag uses an undeclared prefix; write `!Name`"),
    ("did not find expected <document start>", "nothing may follow here; one file holds one document"),
)


class Lines:
    """Marks of libyaml -> line and column from 1, as editors count them, always inside the file."""

    def __init__(self, source: str, file: str) -> None:
        self.file = file
        self.source = source
        self._starts: list[int] | None = None
        if any(c in source for c in _EXOTIC_BREAKS):
            self._starts = self._line_starts()
        # asked for every event: without exotic line breaks libyaml's own count is right
        self.place: Callable[[Any], tuple[int, int]] = self._by_index if self._starts else self._by_mark

    @staticmethod
    def _by_mark(mark: Any) -> tuple[int, int]:
        return mark.line + 1, mark.column + 1

    def position(self, mark: Any) -> Position:
        """Any mark: those at the end of a file can lie beyond its last line."""
        line, column = self._by_index(mark)
        return Position(self.file, line, column)

    def character(self, mark: Any) -> str:
        return self.source[mark.index : mark.index + 1]

    def _line_starts(self) -> list[int]:
        starts, at = [0], self.source.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.source.find("\n", at + 1)
        return starts

    def _by_index(self, mark: Any) -> tuple[int, int]:
        import bisect

        if self._starts is None:
            self._starts = self._line_starts()
        index = min(mark.index, len(self.source))
        line = bisect.bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1


def decoded(text: bytes, file: str) -> tuple[str, tuple[Position, str] | None]:
    """UTF-8 to text without its byte order mark; or where it is not UTF-8, or not text, and what to say."""
    body = text.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode("utf-8"), None
    except UnicodeDecodeError as error:
        before = body[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        byte = body[error.start]
        return "", (Position(file, line, column), f"byte 0x{byte:02x} is not UTF-8; save the file in UTF-8")


def syntax_problem(error: YAMLError, lines: Lines) -> tuple[Position, str]:
    """Where, and what to say, for whatever libyaml raised."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return _unprintable(error, lines)
    said = getattr(error, "problem", None) or "not YAML"
    context = getattr(error, "context", None) or ""
    at = lines.position(mark)
    character = lines.character(mark)
    if character == "\t":
        return at, "a tab stands where only blanks may; indent with blanks"
    if "cannot start any token" in said:
        return at, f"a text may not begin with `{shortened(character)}`; put it in quotes"
    for piece, text in _ADVICE:
        if piece in said:
            return at, text
    return at, f"not valid YAML: {f'{context}, ' if context else ''}{said}; check quotes and indentation here"


def _unprintable(error: YAMLError, lines: Lines) -> tuple[Position, str]:
    import re

    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]", lines.source)
    index = found.start() if found else 0
    before = lines.source[:index]
    at = Position(lines.file, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
    if found is None:
        return at, f"not valid YAML: {shortened(str(error))}; check this file"
    return (
        at,
        f"the character U+{ord(found.group()):04X} is not allowed in YAML; write it as an escape in double quotes",
    )


def without_surrogate_escapes(source: str, error: YAMLError) -> str | None:
    r"""Text where `\ud83d\ude00` is the character it means; None if that was not what libyaml stumbled on."""
    if "invalid Unicode character escape" not in (getattr(error, "problem", None) or ""):
        return None
    import re

    def joined(pair: re.Match[str]) -> str:
        high, low = int(pair[2], 16), int(pair[3], 16)
        return f"{pair[1]}{chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))}"

    pattern = r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    readable = re.sub(pattern, joined, source)
    return readable if readable != source else None
