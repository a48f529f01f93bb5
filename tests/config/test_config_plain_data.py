"""Data without a struct: YAML 1.2's core schema, and a class for every problem."""

from __future__ import annotations

from typing import Any

import pytest

from manor.config.loader import ConfigError, load_data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("~", None),
        ("null", None),
        ("Null", "Null"),
        ("true", True),
        ("True", "True"),
        ("yes", "yes"),
        ("on", "on"),
        ("'true'", "true"),
        ("1", 1),
        ("-1", -1),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("+", "+"),
        ("2027-01-01", "2027-01-01"),
        ("'1'", "1"),
        ("18446744073709551615", 2**64 - 1),
        ("{1: a, true: b, x: c, 1.5: d}", {"1": "a", "true": "b", "x": "c", "1.5": "d"}),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a\n---\nb", "a"),
    ],
)
def test_a_value_has_the_type_of_the_core_schema(text: str, value: Any) -> None:
    loaded = load_data(text.encode(), "v1.yaml")
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("a: .nan", "NanOrInfinity", "1:4"),
        ("a: -.INF", "NanOrInfinity", "1:4"),
        ("a: 1e999", "NanOrInfinity", "1:4"),
        ("a: 18446744073709551616", "Float", "1:4"),
        ("{[a]: b}", "BadYamlKey", "1:2"),
        ("{~: b}", "BadYamlKey", "1:2"),
        ("{!x a: b}", "BadYamlKey", "1:2"),
        ("a: !Tag x", "BadYamlValue", "1:4"),
        ("a: !!str x", "BadYamlValue", "1:4"),
        ("a: !*Include x", "BadYamlValue", "1:4"),
        ("a: &x [*x]", "BadYamlValue", "1:8"),
        ("a: 1\na: 2", "YamlParse", "2:1"),
        ("a: b: c", "YamlParse", "1:5"),
        ("a: [", "YamlParse", "1:5"),
    ],
)
def test_each_problem_has_its_class_and_place(text: str, code: str, at: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_data(text.encode(), "v1.yaml")
    (problem,) = caught.value.problems
    assert problem.code == code
    assert str(problem).startswith(f"v1.yaml:{at}: ")
    assert code not in str(problem)


def test_several_problems_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load_data(b"a: .nan\nb: [!x y]\n", "v1.yaml")
    assert [problem.code for problem in caught.value.problems] == ["NanOrInfinity", "BadYamlValue"]


def test_everything_can_be_left_text() -> None:
    assert load_data(b"{a: 1, b: true, c: ~}", "v1.yaml", yaml_12=False) == {"a": "1", "b": "true", "c": None}
