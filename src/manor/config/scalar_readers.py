"""Readers of single values: text, truth, numbers, choices; and of free values, which no option gives a type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manor.config.errors import shortened
from manor.config.nodes import Node, Scalar
from manor.config.plain_data import Trouble, core_value
from manor.config.reading import BAD, Reader, Reading, wrong
from manor.config.units import ParseIn


def read_str(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None and not node.null:
        return node.text
    if type(node) is Scalar and node.tag is None:
        return reading.bad(node, 'the value is missing; write a text, `""` for the empty one')
    return wrong(node, reading, "a text")


def read_bool(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None:
        if node.text == "true":
            return True
        if node.text == "false":
            return False
        if not node.null:
            return reading.bad(node, f'"{shortened(node.text)}" is neither true nor false; write `true` or `false`')
    return wrong(node, reading, "`true` or `false`")


def scalar_reader(parse: Callable[[str], Any], wanted: str) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, wanted)
        try:
            return parse(node.text)
        except ValueError as error:
            return reading.bad(node, one_line(error))

    return read


def one_line(error: ValueError) -> str:
    return shortened(str(error), 1000)


def parse_in_reader(rule: ParseIn) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, "a value")
        try:
            value = rule.function(node.text, reading.dialect)
        except ValueError as error:
            return reading.bad(node, one_line(error))
        warning = rule.warn(node.text, reading.dialect) if rule.warn else None
        if warning:
            reading.warn(node, warning)
        return value

    return read


def choice_reader(values: dict[str, Any]) -> Reader:
    wanted = "one of " + ", ".join(f"`{text}`" for text in values)

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, wanted)
        if node.text in values:
            return values[node.text]
        return reading.bad(node, f'unknown value "{shortened(node.text)}"; {reading.advice(node.text, values)}')

    return read


def read_null(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None and node.null:
        return None
    return wrong(node, reading, "nothing")


def read_any(node: Node, reading: Reading) -> Any:
    """Plain data: typed by the core schema where the dialect says so, else every scalar a text."""
    problems: Trouble = []
    value = core_value(node, problems, typed=reading.dialect.core_schema, tags_allowed=not reading.dialect.core_schema)
    for at, text, code in problems:
        reading.report.error(at.at, text, path=tuple(reading.path), code=code)
    return BAD if problems else value
