"""The reader of a field that takes one type of several, told apart by the look of the node: its tag, kind and keys."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence, untagged
from manor.config.reading import BAD, Reader, Reading, missing_tag, unknown_tag, wrong
from manor.config.report import Report
from manor.config.struct_reader import StructReader
from manor.config.units import UnsupportedTags


def union_reader(members: tuple[Any, ...], unsupported: tuple[str, ...], reader_for: Callable[[Any], Reader]) -> Reader:
    """Args: the types of the union; the tags that are known but cannot be read yet; how readers are made."""
    members, unsupported = _flat(members, unsupported)
    nullable = type(None) in members
    kinds = [m for m in members if m is not type(None) and m is not msgspec.UnsetType]
    variants: dict[str, StructReader] = {}
    structs: list[StructReader] = []
    mappings: list[Reader] = []
    lists: list[Reader] = []
    scalars: list[tuple[int, Reader]] = []
    for kind in kinds:
        reader = reader_for(kind)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        origin = get_origin(bare) or bare
        if isinstance(reader, StructReader):
            if reader.tag is not None:
                variants[reader.tag] = reader
            else:
                structs.append(reader)
        elif origin in (dict, typing.Mapping) or getattr(origin, "__name__", "") == "Mapping":
            mappings.append(reader)
        elif origin in (list, tuple, set, frozenset):
            lists.append(reader)
        else:
            scalars.append((kind is str, reader))
    if len(kinds) == 1 and not variants:
        only = reader_for(kinds[0])

        def optional(node: Node, reading: Reading) -> Any:
            if type(node) is Scalar and node.null and node.tag is None:
                return None
            return only(node, reading)

        return optional if nullable else only
    ordered = [reader for _, reader in sorted(scalars, key=lambda pair: pair[0])]

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is Broken:
            return BAD
        if node.tag is not None:
            variant = variants.get(node.tag[1:]) if node.tag[0] == "!" else None
            if variant is None:
                return unknown_tag(node, reading, variants, unsupported)
            return variant.read_untagged(untagged(node), reading)
        if type(node) is Mapping:
            if structs:
                return max(structs, key=lambda struct: struct.known_keys(node))(node, reading)
            if mappings:
                return mappings[0](node, reading)
        elif type(node) is Sequence:
            if lists:
                return lists[0](node, reading)
        elif type(node) is Scalar:
            if node.null and nullable:
                return None
            if node.null and (lists or (not ordered and (structs or mappings))):
                return (lists or structs or mappings)[0](node, reading)
            if ordered:
                return first_that_fits(ordered, node, reading)
        if variants and not (structs or mappings or lists or ordered):
            return missing_tag(node, reading, variants)
        forms = [
            *(["a mapping"] if structs or mappings else []),
            *(["a list"] if lists else []),
            *(["a text or number"] if ordered else []),
            *(f"`!{name}`" for name in sorted(variants)),
        ]
        return wrong(node, reading, " or ".join(forms))

    return read


def _flat(members: tuple[Any, ...], unsupported: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """A union inside, which only an `Annotated` with unsupported tags can keep apart, is part of this one."""
    flat: list[Any] = []
    for member in members:
        rules = getattr(member, "__metadata__", ())
        if rules and all(isinstance(rule, UnsupportedTags) for rule in rules):
            unsupported += tuple(tag for rule in rules for tag in rule.tags)
            inner = get_args(member)[0]
            flat += get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
        else:
            flat.append(member)
    return tuple(flat), unsupported


def first_that_fits(readers: list[Reader], node: Node, reading: Reading) -> Any:
    """The first reader without a problem; when there is none, what each of them said."""
    if len(readers) == 1:
        return readers[0](node, reading)
    said: list[str] = []
    for reader in readers:
        attempt = Reading(reading.dialect, Report(reading.dialect, None))
        value = reader(node, attempt)
        if value is not BAD:
            return value
        said.extend(problem.text for problem in attempt.report.problems)
    return reading.bad(node, ", or ".join(dict.fromkeys(said)))
