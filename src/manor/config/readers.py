"""Types -> readers of nodes: how the value of every kind of field is made, and what is said when it cannot be.

Theory of operation. For each type hint a reader is made once and kept: a function `(node, reading) -> value`. A reader
that meets something wrong reports it and returns `BAD`; its parent goes on with the other children, so that one run
shows all problems, and returns `BAD` itself. Structs resolve their hints when the first value of theirs is read: a
tool with eighty build steps pays for the five that a file uses.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from manor.config.collection_readers import dict_reader, fixed_tuple_reader, list_reader
from manor.config.nodes import Node
from manor.config.reading import BAD, Reader, Reading
from manor.config.scalar_readers import (
    choice_reader,
    parse_in_reader,
    read_any,
    read_bool,
    read_null,
    read_str,
    scalar_reader,
)
from manor.config.struct_reader import StructReader
from manor.config.union_reader import union_reader
from manor.config.units import Check, Length, Parse, ParseIn, Pattern, Range, UnsupportedTags, parse_float, parse_int

_READERS: dict[Any, Reader] = {
    str: read_str,
    bool: read_bool,
    int: scalar_reader(parse_int, "an integer"),
    float: scalar_reader(parse_float, "a number"),
    Any: read_any,
    object: read_any,
    type(None): read_null,
}


def reader_for(hint: Any) -> Reader:
    """The reader of a type hint, made once."""
    reader = _READERS.get(hint)
    if reader is None:
        reader = _READERS[hint] = _make_reader(hint)
    return reader


def _make_reader(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return StructReader(hint, reader_for)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return choice_reader({str(member.value): member for member in hint})
    if origin is Literal:
        return choice_reader({_literal_text(value): value for value in arguments})
    if origin is Annotated:
        return _annotated(hint.__origin__, hint.__metadata__)
    if origin is Union or origin is types.UnionType:
        return union_reader(arguments, (), reader_for)
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return fixed_tuple_reader(tuple(map(reader_for, arguments)))
    if origin in (list, tuple, set, frozenset):
        build: Callable[[list[Any]], Any] = (lambda values: values) if origin is list else origin
        return list_reader(reader_for(arguments[0]), build)
    if hint in (list, dict):
        return list_reader(read_any, lambda values: values) if hint is list else dict_reader(None, read_any)
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        key, value = arguments
        return dict_reader(None if key is str else reader_for(key), reader_for(value))
    if isinstance(hint, typing.NewType):
        return reader_for(hint.__supertype__)
    raise TypeError(f"no reader for fields of type {hint!r}")


def _literal_text(value: Any) -> str:
    """As the file writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _annotated(inner: Any, rules: tuple[Any, ...]) -> Reader:
    """The reader of the inner type, or of its `Parse`; then the checks, in order, until one objects."""
    unsupported = tuple(tag for rule in rules if isinstance(rule, UnsupportedTags) for tag in rule.tags)
    if unsupported:
        members = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
        reader = union_reader(members, unsupported, reader_for)
    else:
        reader = reader_for(inner)
    for rule in rules:
        if isinstance(rule, Parse):
            reader = scalar_reader(rule.function, "a value")
        elif isinstance(rule, ParseIn):
            reader = parse_in_reader(rule)
    checks = [rule.function for rule in rules if isinstance(rule, Check | Range | Length | Pattern)]
    if not checks:
        return reader

    def read(node: Node, reading: Reading) -> Any:
        value = reader(node, reading)
        if value is not BAD:
            for check in checks:
                objection = check(value)
                if objection is not None:
                    return reading.bad(node, objection)
        return value

    return read
