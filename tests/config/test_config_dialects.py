"""What differs between the four tools' files, and what merging and unpacking do where they are allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from manor.config.dialect import CANTAL, LITHOS, VAGGA, VERWALTER, Dialect
from manor.config.loader import ConfigError, Problem, load
from manor.config.units import Duration, Mode

ALL = [LITHOS, VAGGA, CANTAL, VERWALTER]


class Box(msgspec.Struct, frozen=True, kw_only=True):
    mode: Mode = 0
    wait: Duration = 0.0
    work_dir: str = ""
    free: dict[str, str] = {}
    items: tuple[str, ...] = ()
    inner: Box | None = None
    anything: Any = None


def read(text: str, dialect: Dialect) -> Box:
    return load(text.encode(), "f.yaml", Box, dialect).value


def said(text: str, dialect: Dialect) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "f.yaml", Box, dialect)
    return str(caught.value)


def warned(text: str, dialect: Dialect) -> tuple[Box, list[str]]:
    warnings: list[Problem] = []
    value = load(text.encode(), "f.yaml", Box, dialect, warn=warnings.append).value
    return value, list(map(str, warnings))


def test_a_key_given_twice_is_an_error_but_for_vagga_where_the_first_holds() -> None:
    text = "work-dir: a\nwork-dir: b\n"
    expected = "f.yaml:2:1: {}the key `work-dir` is given twice, first in line 1; "
    assert said(text, LITHOS) == expected.format("Validation Error: ") + "keep one of them"
    assert said(text, CANTAL) == said(text, VERWALTER) == expected.format("") + "keep one of them"
    value, warnings = warned(text, VAGGA)
    assert value.work_dir == "a"
    assert warnings == [expected.format("") + "the first one holds"]


def test_names_with_an_underscore_are_for_anchors_in_lithos_and_vagga_only() -> None:
    text = "_note: {anything: [goes, !here x]}\nwork-dir: a\n"
    assert read(text, LITHOS).work_dir == read(text, VAGGA).work_dir == "a"
    assert "unknown option `_note`" in said(text, CANTAL)
    assert "unknown option `_note`" in said(text, VERWALTER)
    assert read("free: {_x: y, a-b: 1, a_b: 2}", LITHOS).free == {"_x": "y", "a-b": "1", "a_b": "2"}


def test_a_mode_with_a_leading_zero() -> None:
    value, warnings = warned("mode: 0755", LITHOS)
    assert value.mode == 755
    assert warnings == [
        'f.yaml:1:7: Validation Error: mode "0755" is decimal; write `0o755` if octal is meant (in `mode`)'
    ]
    assert said("mode: 0755", VAGGA) == 'f.yaml:1:7: "0755" would be read as decimal; write `0o755` (in `mode`)'
    assert read("mode: 0755", VERWALTER).mode == read("mode: 755", VERWALTER).mode == 0o755
    for dialect in ALL:
        assert warned("mode: 0o755", dialect) == (Box(mode=0o755), [])


def test_a_length_of_time_without_unit() -> None:
    assert read("wait: 10", LITHOS).wait == read("wait: 10", CANTAL).wait == 10
    for dialect in (VAGGA, VERWALTER):
        assert said("wait: 10", dialect) == 'f.yaml:1:7: "10" lacks a unit; write `10s` for seconds (in `wait`)'
        assert read("wait: 1min 30s", dialect).wait == 90


def test_the_kind_is_shown_by_lithos_alone() -> None:
    assert said("a: b: c", LITHOS).startswith("f.yaml:1:5: Parse Error: a `:` is not allowed here")
    assert said("x: 1\ny: 2", LITHOS).startswith("f.yaml:1:1: Validation Error: unknown keys: x, y; ")
    with pytest.raises(ConfigError, match=r"^f.yaml:1:1: Decode Error: byte 0x80 is not UTF-8"):
        load(b"\x80", "f.yaml", Box, LITHOS)
    assert "Error:" not in said("x: 1", VERWALTER)


def test_vagga_shows_twenty_errors_the_others_all() -> None:
    text = "items:\n" + "- {}\n" * 30
    assert len(said(text, VAGGA).splitlines()) == 20
    for dialect in (LITHOS, CANTAL, VERWALTER):
        assert len(said(text, dialect).splitlines()) == 30


def test_free_values_have_types_in_verwalter_and_are_text_elsewhere() -> None:
    text = "anything: {a: 1, b: [1.5, true, yes, ~, '1']}"
    assert read(text, VERWALTER).anything == {"a": 1, "b": [1.5, True, "yes", None, "1"]}
    assert read(text, LITHOS).anything == {"a": "1", "b": ["1.5", "true", "yes", None, "1"]}
    assert read("anything: !Custom {x: !!str 1}", LITHOS).anything == {"x": "1"}
    assert "plain data; leave it out (in `anything`)" in said("anything: [!Custom x]", VERWALTER)


@pytest.mark.parametrize("dialect", [LITHOS, VAGGA, VERWALTER])
def test_merging_the_first_writer_wins(dialect: Dialect) -> None:
    text = """
free: &base {a: base, b: base}
inner:
  free: &other {b: other, c: other, d: other}
  inner:
    free:
      c: own
      <<: [*base, *other]
  work-dir: x
"""
    inner = read(text, dialect).inner
    assert inner is not None and inner.inner is not None
    assert inner.inner.free == {"c": "own", "a": "base", "b": "base", "d": "other"}


def test_merged_options_lose_against_their_other_spelling_too() -> None:
    text = "inner: &base {work-dir: base, wait: 1s}\n"
    whole = "inner: {<<: {work-dir: merged, wait: 1s}, work_dir: own}"
    assert read(whole, VAGGA).inner == Box(work_dir="own", wait=1.0)
    assert read("inner: {<<: [{work_dir: first}, {work-dir: second}]}", VAGGA).inner == Box(work_dir="first")
    assert read(text, VAGGA).inner == Box(work_dir="base", wait=1.0)


def test_merging_is_not_recursive_and_takes_mappings_only() -> None:
    assert read("inner: {<<: {free: {a: 1}}, free: {b: 2}}", VAGGA).inner == Box(free={"b": "2"})
    assert read("free: {<<: }", VAGGA).free == {}
    assert read("free: {'<<': x}", VAGGA).free == {"<<": "x"}
    for wrong in ("x", "[x]", "[[a]]"):
        assert "`<<` takes a mapping or a list of mappings; write `<<: *anchor`" in said(
            f"free: {{<<: {wrong}}}", VAGGA
        )


def test_cantal_has_no_merging() -> None:
    assert said("free: {<<: {a: b}}", CANTAL) == (
        "f.yaml:1:8: merge keys (`<<`) are not allowed in cantal's files; write the options out"
    )


def test_anchors_work_everywhere() -> None:
    for dialect in ALL:
        value = read("work-dir: &x /y\nitems: &list [*x, b]\ninner: {items: *list, work-dir: *x}\n", dialect)
        assert value.inner == Box(items=("/y", "b"), work_dir="/y")


def test_unpacking_splices_lists() -> None:
    text = "anything: &a [x, y]\nitems: [1, !*Unpack [*a, [z], []], 2]\n"
    for dialect in (LITHOS, VAGGA):
        assert read(text, dialect).items == ("1", "x", "y", "z", "2")
    for dialect in (CANTAL, VERWALTER):
        assert f"`!*Unpack` is not supported in {dialect.tool} files; write the items out" in said(text, dialect)


@pytest.mark.parametrize("wrong", ["[!*Unpack x]", "[!*Unpack [x]]", "[!*Unpack {a: [b]}]"])
def test_unpacking_takes_lists_of_lists(wrong: str) -> None:
    assert "!*Unpack [*first, *second]`" in said(f"items: {wrong}", VAGGA)


def test_unpacking_outside_a_list_is_refused() -> None:
    assert "the tag `!*Unpack` is not allowed here" in said("items: !*Unpack [[a]]", VAGGA)
    assert "`!*Unpack` must be an item of a list" in said("!*Unpack [[a]]", VAGGA)


@pytest.mark.parametrize("tag", ["!*Include", "!*IncludeSeq", "!*IncludeMap"])
def test_includes_are_vaggas_alone(tag: str) -> None:
    for dialect in (LITHOS, CANTAL, VERWALTER):
        message = f"`{tag}`: includes are not supported in {dialect.tool} files; write the content here"
        assert message in said(f"items: {tag} other.yaml", dialect)
        assert message in said(f"items: {tag} [other.yaml]", dialect)


def test_an_unknown_directive_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown tag `!\*Incl`; of this kind are known: `!\*Include`, `!\*IncludeSeq`"
    ):
        load(b"items: !*Incl x", "f.yaml", Box, VAGGA, root=Path("/nowhere"))
    assert "unknown tag `!*Incl`; of this kind are known: `!*Unpack`" in said("items: !*Incl x", LITHOS)
    assert "there are none in these files" in said("items: !*Incl x", CANTAL)
