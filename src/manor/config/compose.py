"""Bytes -> nodes: libyaml finds the events, this module builds from them, with every bound checked on the way.

Theory of operation. libyaml's own composer recurses and crashes on deep nesting, and PyYAML's knows no bounds, so only
libyaml's flat stream of events is used. Open collections stand on a list; each finished node carries its size and
height with aliases expanded, which are known without expanding anything: an alias is its target once more. So a file
that would unfold to a billion nodes is refused at the alias that crosses the bound, after a few hundred bytes.

What the dialect allows is resolved as soon as a collection ends: `<<` and `!*Unpack` here, `!*Include` and its kin
by the `Includes` of the caller. Readers of options never see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from yaml import (
    AliasEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
    YAMLError,
)
from yaml._yaml import CParser

from manor.config.dialect import DEPTH_MAX, Dialect
from manor.config.errors import Position
from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence
from manor.config.report import Budget, Report, Stop
from manor.config.syntax import Lines, decoded, syntax_problem, without_surrogate_escapes

TAG_DIRECTIVES_MAX: Final = 100  # libyaml compares each with all before it
INCLUDE_TAGS: Final = ("!*Include", "!*IncludeSeq", "!*IncludeMap")
_OPEN: Final = Scalar("", 1, 1, None, "", True)  # an anchor whose node has not ended yet


class Includes(Protocol):
    """Where the content of `!*Include` comes from."""

    def include(self, at: Scalar, budget: Budget) -> Node: ...


def compose(
    text: bytes,
    file: str,
    dialect: Dialect,
    report: Report,
    budget: Budget,
    includes: Includes | None = None,
    *,
    first_document_only: bool = False,
) -> Node:
    """The one document of a file, as nodes; an empty file is a missing value.

    Raises:
        Stop: the bytes are no YAML, or a bound is crossed. Lesser problems go into the report.
    """
    source, decode_error = decoded(text, file)
    if decode_error is not None:
        raise report.stop(*decode_error, kind="Decode Error")
    lines = Lines(source, file)
    if source.count("%TAG") > TAG_DIRECTIVES_MAX:
        what = f"more than {TAG_DIRECTIVES_MAX} `%TAG` directives; leave them out, nothing here needs them"
        raise report.stop(Position(file, 1, 1), what, code="TooLarge")
    told = len(report.problems)
    try:
        return _Composer(source, lines, file, dialect, report, budget, includes).document(first_document_only)
    except YAMLError as error:
        readable = without_surrogate_escapes(source, error)
        del report.problems[told:]  # the second reading tells them again
        if readable is not None:  # JSON writes what lies outside the basic plane as two escapes, YAML does not
            try:
                lines = Lines(readable, file)
                composer = _Composer(readable, lines, file, dialect, report, budget, includes)
                return composer.document(first_document_only)
            except YAMLError as another:
                error = another
        raise report.stop(*syntax_problem(error, lines)) from None


class _Composer:
    def __init__(
        self,
        source: str,
        lines: Lines,
        file: str,
        dialect: Dialect,
        report: Report,
        budget: Budget,
        includes: Includes | None,
    ) -> None:
        self._next: Callable[[], Any] = CParser(source).get_event
        self._lines = lines
        self._file = file
        self._dialect = dialect
        self._report = report
        self._budget = budget
        self._includes = includes
        self._directive = "\0" if dialect.plain_data else "!*"  # what the tags begin with that are resolved here

    def document(self, first_document_only: bool) -> Node:
        self._next()  # the start of the stream
        event = self._next()
        if type(event) is StreamEndEvent:
            return Scalar(self._file, 1, 1, None, "", True)
        root = self._root()
        self._next()  # the end of the document
        if not first_document_only:
            event = self._next()
            if type(event) is DocumentStartEvent:
                at = self._lines.position(event.start_mark)
                raise self._report.stop(at, "a second document begins here; one file holds one document")
        return root

    def _root(self) -> Node:
        """One pass over the events of a document. Everything hot is a local name: this loop is most of the time."""
        next_event, file, place = self._next, self._file, self._lines.place
        anchors: dict[str, Node] = {}
        open_nodes: list[Sequence | Mapping] = []
        open_children: list[list[Node]] = []
        open_anchors: list[str | None] = []
        while True:
            event = next_event()
            kind = type(event)
            line, column = place(event.start_mark)
            node: Node
            if kind is ScalarEvent:
                node = Scalar(file, line, column, event.tag, event.value, not event.style)
                self._budget.nodes_left -= 1
                if event.anchor:
                    anchors[event.anchor] = node
                if event.tag is not None and event.tag.startswith(self._directive):
                    node = self._directive_scalar(node)
                    if event.anchor:
                        anchors[event.anchor] = node
                    if len(open_nodes) + node.height > DEPTH_MAX:
                        raise self._too_deep(node.at)
            elif kind is AliasEvent:
                node = self._aliased(event.anchor, anchors, Position(file, line, column), len(open_nodes))
            elif kind is SequenceStartEvent or kind is MappingStartEvent:
                if len(open_nodes) >= DEPTH_MAX:
                    raise self._too_deep(Position(file, line, column))
                opened: Sequence | Mapping
                if kind is SequenceStartEvent:
                    opened = Sequence(file, line, column, event.tag, [])
                else:
                    opened = Mapping(file, line, column, event.tag, [])
                open_nodes.append(opened)
                open_children.append([])
                open_anchors.append(event.anchor)
                if event.anchor:
                    anchors[event.anchor] = _OPEN
                continue
            else:  # the end of a collection
                ended, children, anchor = open_nodes.pop(), open_children.pop(), open_anchors.pop()
                node = self._ended(ended, children)
                if anchor:
                    anchors[anchor] = node
            if self._budget.nodes_left < 0:
                self._budget.spend(0, node.at, self._report)
            if not open_children:
                return self._misplaced(node) if node.tag == "!*Unpack" and not self._dialect.plain_data else node
            open_children[-1].append(node)

    def _aliased(self, anchor: str, anchors: dict[str, Node], at: Position, depth: int) -> Node:
        found = anchors.get(anchor)
        if found is None:
            raise self._report.stop(at, f"no anchor `&{anchor}` before this alias; check its name")
        if found is _OPEN:
            what = f"the alias `*{anchor}` stands inside its own anchor; a value cannot hold itself"
            raise self._report.stop(at, what, code="BadYamlValue")
        self._budget.spend(found.size, at, self._report)
        if depth + found.height > DEPTH_MAX:
            raise self._too_deep(at)
        return found

    def _ended(self, node: Sequence | Mapping, children: list[Node]) -> Node:
        """What a collection is, now that all its children are there."""
        self._budget.spend(1, node.at, self._report)
        node.size = 1 + sum([child.size for child in children])
        node.height = 1 + max([child.height for child in children], default=0)
        directive = node.tag is not None and node.tag.startswith(self._directive)
        if isinstance(node, Mapping):
            self._pair(node, children)
            return self._misplaced(node) if directive else node
        node.items = children
        if any(child.tag == "!*Unpack" for child in children) and self._dialect.unpacks:
            self._unpack(node)
        return self._directive_sequence(node) if directive else node

    def _too_deep(self, at: Position) -> Stop:
        return self._report.stop(at, f"nested deeper than {DEPTH_MAX} levels; write it flatter", code="TooLarge")

    # mappings

    def _pair(self, mapping: Mapping, children: list[Node]) -> None:
        """Keys and values to entries: no key twice, `<<` replaced by what it names."""
        entries = mapping.entries
        first: dict[str, Scalar] = {}
        merged: list[Node] = []
        pairs = iter(children)
        for key, value in zip(pairs, pairs, strict=True):
            if type(key) is not Scalar or key.tag is not None:
                if type(key) is not Broken:
                    self._report.error(key.at, "a key must be plain text; write `name: value`", code="BadYamlKey")
                continue
            text = key.text
            earlier = first.setdefault(text, key)
            if earlier is not key:
                self._duplicate(key, earlier)
            elif text == "<<" and key.plain and not self._dialect.plain_data:
                if self._dialect.merges:
                    merged.append(value)
                else:
                    self._report.error(
                        key.at,
                        f"merge keys (`<<`) are not allowed in {self._dialect.tool}'s files; write the options out",
                    )
            else:
                entries.append((key, value))
        mapping.own = len(entries)
        if merged:
            known = {key.text for key, _ in entries}
            for value in merged:
                for source in self._merge_sources(value):
                    for entry in source.entries:
                        if entry[0].text not in known:
                            known.add(entry[0].text)
                            entries.append(entry)

    def _merge_sources(self, value: Node) -> list[Mapping]:
        if type(value) is Mapping:
            return [value]
        if type(value) is Scalar and value.null:
            return []
        if type(value) is Sequence and all(type(item) in (Mapping, Broken) for item in value.items):
            return [item for item in value.items if isinstance(item, Mapping)]
        if type(value) is not Broken:
            self._report.error(value.at, "`<<` takes a mapping or a list of mappings; write `<<: *anchor`")
        return []

    def _duplicate(self, key: Scalar, earlier: Scalar) -> None:
        text = f"the key `{key.text}` is given twice, first in line {earlier.line}; "
        if self._dialect.duplicate_is_error:
            self._report.error(key.at, text + "keep one of them", code="YamlParse")
        else:
            self._report.warning(key.at, text + "the first one holds")

    # `!*Unpack` and `!*Include…`

    def _unpack(self, outer: Sequence) -> None:
        items: list[Node] = []
        for item in outer.items:
            if item.tag != "!*Unpack":
                items.append(item)
            elif not isinstance(item, Sequence):
                self._report.error(item.at, "`!*Unpack` takes a list of lists; write `!*Unpack [*first, *second]`")
            else:
                for inner in item.items:
                    if isinstance(inner, Sequence):
                        items.extend(inner.items)
                    elif not (isinstance(inner, Broken) or (isinstance(inner, Scalar) and inner.null)):
                        self._report.error(
                            inner.at, "`!*Unpack` takes a list of lists; write `!*Unpack [*first, *second]`"
                        )
        outer.items = items

    def _directive_scalar(self, node: Scalar) -> Node:
        if node.tag in INCLUDE_TAGS and self._includes is not None:
            return self._includes.include(node, self._budget)
        return self._misplaced(node)

    def _directive_sequence(self, node: Sequence) -> Node:
        return node if node.tag == "!*Unpack" and self._dialect.unpacks else self._misplaced(node)

    def _misplaced(self, node: Node) -> Node:
        tool = self._dialect.tool
        if node.tag == "!*Unpack" and self._dialect.unpacks:
            text = "`!*Unpack` must be an item of a list and hold a list of lists; write `- !*Unpack [*first, *second]`"
        elif node.tag == "!*Unpack":
            text = f"`!*Unpack` is not supported in {tool} files; write the items out"
        elif node.tag in INCLUDE_TAGS and self._includes is not None:
            text = f"`{node.tag}` takes the path of a file; write `{node.tag} path`"
        elif node.tag in INCLUDE_TAGS:
            text = f"`{node.tag}`: includes are not supported in {tool} files; write the content here"
        else:
            known = [*INCLUDE_TAGS] if self._includes is not None else []
            known += ["!*Unpack"] if self._dialect.unpacks else []
            listed = ", ".join(f"`{tag}`" for tag in known) or "there are none in these files"
            text = f"unknown tag `{node.tag}`; of this kind are known: {listed}"
        self._report.error(node.at, text)
        return Broken(node.file, node.line, node.column, None)
