"""Nodes -> plain Python data, for values that no option gives a type: YAML 1.2's core schema, or all texts.

Plain scalars: `true` and `false`; `null`, `~` and nothing; integers in base 10, `0o` and `0x`; floats, finite. All
else is text, and so is everything in quotes.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from manor.config.errors import shortened
from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence

_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_MAX: Final = 400  # more cannot be a number anybody means; int() slows down quadratically

Trouble = list[tuple[Node, str, str]]  # where, what is wrong, class of problem


def core_value(node: Node, trouble: Trouble, *, typed: bool = True, tags_allowed: bool = False) -> Any:
    """The value, where `trouble` stays empty. Not typed: every scalar is text but for the missing value."""
    if type(node) is Broken:
        return None
    if node.tag is not None and not tags_allowed:
        trouble.append((node, f"tag `{shortened(node.tag)}` in plain data; leave it out", "BadYamlValue"))
        return None
    if isinstance(node, Mapping):
        values: dict[str, Any] = {}
        for key, value in node.entries:
            if typed and key.null:
                trouble.append((key, "a key is missing; write `name: value`", "BadYamlKey"))
            else:
                values[key.text] = core_value(value, trouble, typed=typed, tags_allowed=tags_allowed)
        return values
    if isinstance(node, Sequence):
        return [core_value(item, trouble, typed=typed, tags_allowed=tags_allowed) for item in node.items]
    assert isinstance(node, Scalar)
    if node.null:
        return None
    if not typed or not node.plain:
        return node.text
    return _core_scalar(node, trouble)


def _core_scalar(node: Scalar, trouble: Trouble) -> Any:
    text = node.text
    if text == "true" or text == "false":
        return text == "true"
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        trouble.append((node, f"`{text}` is no number that can be passed on; write a finite one", "NanOrInfinity"))
        return None
    number: int | float
    if _INTEGER.fullmatch(text) or _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
        number = int(text, base) if len(text) <= _DIGITS_MAX else 2**64
        if not -(2**63) <= number < 2**64:
            what = f"`{shortened(text, 40)}` does not fit 64 bits; put it in quotes to pass it on as text"
            trouble.append((node, what, "Float"))
        return number
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            what = f"`{shortened(text, 40)}` is too large for a number; put it in quotes to pass it on as text"
            trouble.append((node, what, "NanOrInfinity"))
        return number
    return text
