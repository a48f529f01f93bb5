"""What a YAML file says, before any option has given it a type: three kinds of node that know their place.

Nodes are shared: an alias is the same object again, a merged mapping holds the entries of its source. Nobody changes
a node once it is composed.
"""

from __future__ import annotations

from typing import TypeAlias

from manor.config.errors import Position

Entry: TypeAlias = "tuple[Scalar, Node]"


class Node:
    """`size` and `height` count with aliases expanded: what a walk will cost, and how deep it will go."""

    __slots__ = ("column", "file", "line", "tag")

    size = 1
    height = 0

    def __init__(self, file: str, line: int, column: int, tag: str | None) -> None:
        self.file = file
        self.line = line  # from 1
        self.column = column
        self.tag = tag  # `!Name` as written, `tag:yaml.org,2002:str` for `!!str`, None without

    @property
    def at(self) -> Position:
        return Position(self.file, self.line, self.column)


class Scalar(Node):
    """A piece of text. `null` says that it is plain and empty, `~` or `null`: a value that is missing."""

    __slots__ = ("null", "plain", "text")

    def __init__(self, file: str, line: int, column: int, tag: str | None, text: str, plain: bool) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.tag = tag
        self.text = text
        self.plain = plain
        self.null = plain and text in ("", "~", "null")


class Sequence(Node):
    """A list."""

    __slots__ = ("height", "items", "size")

    def __init__(self, file: str, line: int, column: int, tag: str | None, items: list[Node]) -> None:
        super().__init__(file, line, column, tag)
        self.items = items
        self.size = 1
        self.height = 1


class Mapping(Node):
    """Pairs in the order of the file; the first `own` are written here, the others came by `<<`, strongest first."""

    __slots__ = ("entries", "height", "own", "size")

    def __init__(self, file: str, line: int, column: int, tag: str | None, entries: list[Entry]) -> None:
        super().__init__(file, line, column, tag)
        self.entries = entries
        self.own = len(entries)
        self.size = 1
        self.height = 1


class Broken(Node):
    """Stands where something was already reported, so that reading goes on and reports the rest."""

    __slots__ = ()


def untagged(node: Node) -> Node:
    """The same value without its tag, once the tag has been understood."""
    if isinstance(node, Scalar):
        return Scalar(node.file, node.line, node.column, None, node.text, node.plain)
    if isinstance(node, Sequence):
        return Sequence(node.file, node.line, node.column, None, node.items)
    if isinstance(node, Mapping):
        copy = Mapping(node.file, node.line, node.column, None, node.entries)
        copy.own = node.own
        return copy
    return node


def option_name(key: str) -> str:
    """`-` and `_` are the same character in the name of an option."""
    return key.replace("_", "-")
