"""Readers of lists and of mappings with free names; each is made of the readers of what is inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manor.config.errors import shortened
from manor.config.nodes import Mapping, Node, Scalar, Sequence
from manor.config.reading import BAD, Reader, Reading, wrong


def list_reader(item: Reader, build: Callable[[list[Any]], Any]) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Sequence or node.tag is not None:
            if type(node) is Scalar and node.tag is None and node.null:
                return build([])
            if type(node) is Scalar and node.tag is None:
                return wrong(node, reading, f"a list such as `[{shortened(node.text, 30)}]`")
            return wrong(node, reading, "a list")
        values, path, good = [], reading.path, True
        for index, child in enumerate(node.items):
            path.append(index)
            value = item(child, reading)
            path.pop()
            if value is BAD:
                good = False
            values.append(value)
        return build(values) if good else BAD

    return read


def fixed_tuple_reader(items: tuple[Reader, ...]) -> Reader:
    wanted = f"a list of {len(items)} items"

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Sequence or node.tag is not None or len(node.items) != len(items):
            return wrong(node, reading, wanted)
        values = []
        for index, (child, item) in enumerate(zip(node.items, items, strict=True)):
            reading.path.append(index)
            values.append(item(child, reading))
            reading.path.pop()
        return BAD if any(value is BAD for value in values) else tuple(values)

    return read


def dict_reader(key_reader: Reader | None, value_reader: Reader) -> Reader:
    """Free names, taken literally. A None key reader is the common case: any text."""

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Mapping or node.tag is not None:
            if type(node) is Scalar and node.tag is None and node.null:
                return {}
            return wrong(node, reading, "a mapping `name: value`")
        values: dict[Any, Any] = {}
        path, good = reading.path, True
        for key_node, child in node.entries:
            path.append(key_node.text)
            key: Any = key_node.text
            if key_reader is not None:
                # a key is there, also when it looks like a missing value
                key = key_reader(Scalar(key_node.file, key_node.line, key_node.column, None, key, False), reading)
            value = value_reader(child, reading)
            if value is BAD or key is BAD:
                good = False
            elif key in values:
                good = False
                reading.bad(
                    key_node, f"`{shortened(key_node.text)}` means a key that was given before; keep one of them"
                )
            else:
                values[key] = value
            path.pop()
        return values if good else BAD

    return read
