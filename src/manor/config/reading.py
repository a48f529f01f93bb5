"""One walk over a document, and the words for what it finds in the place of something else.

A reader of a node reports what is wrong and returns `BAD`; whoever called it goes on with the node's siblings.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from manor.config.dialect import Dialect
from manor.config.errors import shortened
from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence
from manor.config.report import Report

TAGS_SHOWN_BESIDE_ADVICE: Final = 12  # more would bury the near one
SUGGESTIONS_MAX: Final = 50  # a file of nonsense keys must not cost seconds of comparing words


class _Bad(enum.Enum):
    BAD = 0


BAD: Final = _Bad.BAD


class Reading:
    """One walk over one document: the dialect, the report, and where in the document the walk stands."""

    def __init__(self, dialect: Dialect, report: Report) -> None:
        self.dialect = dialect
        self.report = report
        self.path: list[str | int] = []
        self._suggestions = 0

    def bad(self, node: Node, text: str) -> _Bad:
        if type(node) is not Broken:
            self.report.error(node.at, text, path=tuple(self.path))
        return BAD

    def warn(self, node: Node, text: str) -> None:
        self.report.warning(node.at, text, path=tuple(self.path))

    def advice(self, word: str, known: Iterable[str], mark: str = "") -> str:
        """The nearest of the known words, or all of them."""
        import difflib

        words = sorted(known)
        self._suggestions += 1
        near = difflib.get_close_matches(word[:80], words, n=1) if self._suggestions <= SUGGESTIONS_MAX else []
        if near:
            return f"did you mean `{mark}{near[0]}`?"
        if not words:
            return "none are known here"
        return f"known: {', '.join(f'`{mark}{w}`' for w in words)}"


Reader: TypeAlias = Callable[[Node, Reading], Any]


def found(node: Node) -> str:
    """What stands there, for a message."""
    tag = f"`{shown_tag(node.tag)}` with " if node.tag else ""
    if isinstance(node, Mapping):
        return tag + "a mapping"
    if isinstance(node, Sequence):
        return tag + "a list"
    assert isinstance(node, Scalar)
    return tag + ("nothing" if node.null else f'the text "{shortened(node.text)}"')


def shown_tag(tag: str) -> str:
    """As it is written in the file."""
    prefix = "tag:yaml.org,2002:"
    if tag.startswith(prefix):
        return "!!" + shortened(tag[len(prefix) :])
    return shortened(tag) if tag.startswith("!") else f"!<{shortened(tag)}>"


def wrong(node: Node, reading: Reading, wanted: str) -> _Bad:
    """Not what the option takes: say what was found and what is right."""
    if type(node) is Broken:
        return BAD
    if node.tag is not None:
        return reading.bad(node, f"the tag `{shown_tag(node.tag)}` is not allowed here; write {wanted}")
    if isinstance(node, Scalar) and node.null:
        return reading.bad(node, f"the value is missing; write {wanted}")
    return reading.bad(node, f"found {found(node)}; write {wanted}")


def unknown_tag(node: Node, reading: Reading, known: Iterable[str], unsupported: Iterable[str] = ()) -> _Bad:
    assert node.tag is not None
    shown = shown_tag(node.tag)
    if node.tag[1:] in unsupported:
        return reading.bad(node, f"`{shown}` is not supported yet; leave it out")
    names = tuple(known)
    if not names:
        return reading.bad(node, f"the tag `{shown}` is not allowed here; write the value without it")
    every = f"known: {', '.join(f'`!{name}`' for name in sorted(names))}"
    if shown.startswith("!!") or not shown.startswith("!"):
        return reading.bad(node, f"unknown tag `{shown}`; {every}")
    advice = reading.advice(shown[1:], names, "!")
    if advice.startswith("did") and len(names) <= TAGS_SHOWN_BESIDE_ADVICE:
        advice = f"{advice} {every}"
    return reading.bad(node, f"unknown tag `{shown}`; {advice}")


def missing_tag(node: Node, reading: Reading, known: Iterable[str]) -> _Bad:
    if type(node) is Broken:
        return BAD
    present = "the value is missing" if isinstance(node, Scalar) and node.null else f"found {found(node)} without a tag"
    return reading.bad(node, f"{present}; write one of {', '.join(f'`!{n}`' for n in sorted(known))}")
