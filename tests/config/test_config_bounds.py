"""Files made to hurt: each is one clear problem, before anything of that size was built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from manor.config.dialect import CANTAL, DEPTH_MAX, LITHOS, NODES_MAX, VAGGA, VERWALTER, Dialect
from manor.config.loader import ConfigError, load, load_data, load_file


class Anything(msgspec.Struct, frozen=True, kw_only=True):
    a: Any = None


def refused(text: bytes, dialect: Dialect = CANTAL) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, "f.yaml", Anything, dialect)
    return str(caught.value)


def test_a_billion_laughs_are_refused_at_the_alias_that_crosses_the_bound() -> None:
    lines = ["a: ", "  - &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"  - &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    for dialect in (LITHOS, VAGGA, CANTAL, VERWALTER):
        message = refused("\n".join(lines).encode(), dialect)
        assert message.startswith("f.yaml:8:")
        assert f"more than {NODES_MAX:,} values, aliases and includes expanded; repeat less" in message
    with pytest.raises(ConfigError, match="more than 1,000,000 values"):
        load_data("\n".join(lines).encode(), "f.yaml")


def test_laughs_by_merging_are_refused_too() -> None:
    lines = ["a:", "  - &a0 {k0: v}"]
    lines += [f"  - &a{i} {{k{i}: [{', '.join([f'*a{i - 1}'] * 9)}], <<: *a{i - 1}}}" for i in range(1, 40)]
    assert "more than 1,000,000 values" in refused("\n".join(lines).encode(), VAGGA)


@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- ", b"? ", b"[[a]: "])
def test_nesting_of_a_hundred_thousand_levels_is_refused_at_the_first_too_deep(opening: bytes) -> None:
    assert refused(opening * 100_000).endswith(f"nested deeper than {DEPTH_MAX} levels; write it flatter")
    with pytest.raises(ConfigError, match="nested deeper"):
        load_data(opening * 100_000, "f.yaml")


def test_the_deepest_nesting_allowed_is_read() -> None:
    def nested(levels: int) -> bytes:  # the mapping of the struct is the first level
        return b"a: " + b"[" * (levels - 1) + b"]" * (levels - 1)

    assert load(nested(DEPTH_MAX), "f.yaml", Anything, CANTAL).value.a
    assert "nested deeper" in refused(nested(DEPTH_MAX + 1))


def test_depth_is_counted_through_aliases() -> None:
    deep = b"_x: &x " + b"[" * 40 + b"]" * 40 + b"\na: " + b"[" * 40 + b"*x" + b"]" * 40
    assert refused(deep, LITHOS).startswith("f.yaml:2:44: Parse Error: nested deeper")


@pytest.mark.parametrize(("dialect", "mib"), [(LITHOS, 1), (VAGGA, 16), (CANTAL, 1), (VERWALTER, 1)])
def test_a_file_too_large_is_refused_unread(dialect: Dialect, mib: int, tmp_path: Path) -> None:
    text = b"a: " + b"x" * (17 * 2**20)
    assert f"f.yaml:1:1: {'Decode Error: ' if dialect is LITHOS else ''}larger than {mib} MiB" in refused(text, dialect)
    (tmp_path / "f.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=f"larger than {mib} MiB; split it or make it smaller"):
        load_file(tmp_path / "f.yaml", Anything, dialect)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load_data(text, "f.yaml")


def test_a_million_values_are_read_and_one_more_is_not() -> None:
    def listed(values: int) -> bytes:  # the mapping, its key, the list and the values
        return b"_x: &x [" + b"x," * 999 + b"]\na: [" + b"*x," * (values // 1000) + b"]"

    assert len(load(listed(990_000), "f.yaml", Anything, LITHOS).value.a) == 990
    assert "more than 1,000,000" in refused(listed(1_000_000), LITHOS)


def test_many_problems_are_told_to_a_bound_and_words_are_compared_to_a_bound() -> None:
    message = refused(b"".join(b"unknown%d: 1\n" % i for i in range(50_000)))
    assert len(message.splitlines()) == 1000


def test_directives_that_cost_libyaml_quadratic_time_are_refused() -> None:
    text = b"".join(b"%%TAG !%d! tag:x,1:\n" % i for i in range(40_000)) + b"--- {}"
    assert "more than 100 `%TAG` directives" in refused(text)


def test_numbers_of_a_million_digits_are_no_numbers() -> None:
    class Number(msgspec.Struct, frozen=True, kw_only=True):
        n: int

    with pytest.raises(ConfigError, match="not a number") as caught:
        load(b"n: " + b"1" * 1_000_000, "f.yaml", Number, CANTAL)
    assert len(str(caught.value)) < 300
    with pytest.raises(ConfigError, match="does not fit 64 bits"):
        load_data(b"n: " + b"1" * 1_000_000, "f.yaml")
