"""Whatever the bytes: a value, or problems whose places lie inside the file."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.config.dialect import CANTAL, LITHOS, VAGGA, VERWALTER, Dialect
from manor.config.loader import ConfigError, load, load_data
from manor.config.units import Duration, Mode, Pattern, Range, Size


class Leaf(msgspec.Struct, frozen=True, kw_only=True, tag="Leaf"):
    content: ClassVar[str] = "a"
    content_or_mapping: ClassVar[bool] = True
    a: tuple[str, ...] | str = ()
    b: int = 0


class Bare(msgspec.Struct, frozen=True, kw_only=True, tag="Bare"):
    mode: Mode = 0


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    a: str = ""
    b: int | None = None
    size_limit: Size = 0
    c: dict[str, Leaf | Bare] = {}
    d: tuple[Tree, ...] = ()
    e: Annotated[float, Range(0, 1)] = 0.0
    f: Literal["x", "y"] | bool = "x"
    g: Duration = 0.0
    h: Any = None
    i: Annotated[str, Pattern("[a-z]*", "write small letters")] = ""


DIALECTS = [LITHOS, VAGGA, CANTAL, VERWALTER]


def check(text: bytes, dialect: Dialect) -> None:
    try:
        load(text, "f.yaml", Tree, dialect)
    except ConfigError as error:
        inside(text, error)
    try:
        load_data(text, "f.yaml")
    except ConfigError as error:
        inside(text, error)


def inside(text: bytes, error: ConfigError) -> None:
    lines = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    for problem in error.problems:
        assert problem.at.file == "f.yaml"
        assert 1 <= problem.at.line <= len(lines), problem
        assert 1 <= problem.at.column <= len(lines[problem.at.line - 1]) + 1, problem
        assert "\n" not in str(problem)
        assert str(problem).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(DIALECTS))
def test_arbitrary_bytes(text: bytes, dialect: Dialect) -> None:
    check(text, dialect)


ALPHABET = "ab: \n-[]{},!&*<>|'\"#%@`?~\t\r\\x01_.=+\u2028\x85é😀\x00\ufeff"
WORDS = [
    *("a", "b", "size-limit", "size_limit", "c", "d", "h", ": ", ":", "\n", "\n  ", "\n- ", "- ", "!Leaf ", "!Bare "),
    *("!*Unpack ", "!*Include ", "!!str ", "! ", "&x ", "*x", "<<", "{", "}", "[", "]", ", ", "1", "0755", "10Mi"),
    *("true", "~", "'", '"', "|", ">", "---\n", "...\n", "%YAML 1.2\n", "# c\n", "\t", "\\", "\\ud83d\\ude00"),
    *("\r", "\u2028", "é"),
]


@settings(max_examples=500, deadline=None)
@given(st.text(ALPHABET, max_size=60), st.sampled_from(DIALECTS))
def test_arbitrary_punctuation(text: str, dialect: Dialect) -> None:
    check(text.encode(), dialect)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from(DIALECTS))
def test_arbitrary_pieces_of_yaml(words: list[str], dialect: Dialect) -> None:
    check("".join(words).encode(), dialect)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
# JSON may hold control characters and line separators as they are, YAML only as escapes
TEXTS = st.text(
    st.characters(
        exclude_categories=("Cs", "Zl", "Zp", "Cn"), exclude_characters=[chr(c) for c in (*range(0x7F, 0xA0), 0xFEFF)]
    ),
    max_size=8,
)
PLAIN = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert load_data(msgspec.json.encode(value), "f.json") == value


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abc-_", min_size=1, max_size=5), st.text(st.characters(codec="utf-8"), max_size=20)))
def test_texts_survive(environ: dict[str, str]) -> None:
    class Box(msgspec.Struct, frozen=True, kw_only=True):
        environ: dict[str, str]

    text = yaml.safe_dump({"environ": environ}, default_style='"', allow_unicode=False)
    try:
        loaded = load(text.encode(), "f.yaml", Box, LITHOS).value.environ
    except ConfigError as error:
        pytest.fail(str(error))
    assert loaded == environ
