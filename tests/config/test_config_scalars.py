"""Every rule for a scalar, as a table: what is read, and what is refused with which words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.config.dialect import BareMode
from manor.config.units import (
    format_duration,
    parse_duration,
    parse_float,
    parse_int,
    parse_mode,
    parse_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("-7", -7),
        (" 42 ", 42),
        ("0755", 755),
        ("0080", 80),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0o755", 493),
        ("0b1010", 10),
        ("12_500", 12500),
        ("1__0", 10),
        ("0xa_b", 171),
        ("12_500k", 12_500_000),
        ("0xA ki", 10240),
        ("0xA\tki", 10240),
        ("1M", 10**6),
        ("1Mi", 2**20),
        ("1G", 10**9),
        ("2237Gi", 2237 * 2**30),
        ("1T", 10**12),
        ("1Ti", 2**40),
        ("0b1k", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_an_integer(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write digits"),
        ("lots", "write digits"),
        ("_1", "write digits"),
        ("1_", "write digits"),
        ("0x", "write digits"),
        ("0X1", "write digits"),
        ("0x_1", "write digits"),
        ("0b2", "write digits"),
        ("0o8", "write digits"),
        ("1.5", "write digits"),
        ("1e3", "write digits"),
        ("- 1", "write digits"),
        ("--1", "write digits"),
        ("1 2", "write digits"),
        ("١", "write digits"),
        ("1" * 200, "write digits"),
        ("100m", "write `100M`"),
        ("1K", "write `1k`"),
        ("1GB", "write `1G`"),
        ("1gib", "write `1Gi`"),
        ("5Kib", "write `5ki`"),
    ],
)
def test_no_integer(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=f"^not a number: .*; {advice}"):
        parse_int(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "8388608Ti", "9" * 100])
def test_an_integer_beyond_64_bits(text: str) -> None:
    with pytest.raises(ValueError, match="does not fit 64 bits; write a number from"):
        parse_int(text)


def test_a_size_is_not_negative() -> None:
    assert parse_size("100Mi") == 104857600
    with pytest.raises(ValueError, match='"-1" is negative; a size is 0 or more'):
        parse_size("-1")


@pytest.mark.parametrize(
    ("text", "number"), [("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("-1e3", -1000.0), ("2k", 2000.0), ("0x10", 16.0)]
)
def test_a_float(text: str, number: float) -> None:
    assert parse_float(text) == number


@pytest.mark.parametrize("text", ["", "nan", ".nan", "inf", ".inf", "1e999", "1,5", "0.5s", "1_0.5"])
def test_no_float(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a number: .*; write a decimal number such as `0.5`$"):
        parse_float(text)


def test_seconds_are_plain_numbers_and_the_error_shows_which() -> None:
    assert parse_seconds("5") == 5.0
    assert parse_seconds("0.5") == 0.5
    with pytest.raises(ValueError, match=r'^not a number: "5s"; write seconds without unit: `5`$'):
        parse_seconds("5s")
    with pytest.raises(ValueError, match=r"write seconds without unit: `5400`$"):
        parse_seconds("1h 30min")
    with pytest.raises(ValueError, match=r"write seconds such as `5` or `0.5`$"):
        parse_seconds("soon")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("10 s", 10),
        (" 1h30min ", 5400),
        ("1h 30min", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("1sec", 1),
        ("2 seconds", 2),
        ("1m", 60),
        ("1minute", 60),
        ("3minutes", 180),
        ("1hr", 3600),
        ("2 hours", 7200),
        ("1d", 86400),
        ("2days", 172800),
        ("1w", 604800),
        ("1 week 1 day", 691200),
        ("1month", 30.44 * 86400),
        ("1year", 365.25 * 86400),
        ("0s", 0),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a length of time"),
        ("10", "lacks a unit; write `10s`"),
        ("1h 30", "lacks a unit; write `30s`"),
        ("-1s", "not a length of time"),
        ("s", "not a length of time"),
        ("1S", 'unknown unit of time "S"; known are ms, s, min'),
        ("1 fortnight", "unknown unit of time"),
        ("1s,2s", "not a length of time"),
        ("1e3s", "unknown unit of time"),
        ("1s" * 100, "not a length of time"),
    ],
)
def test_no_duration(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


def test_a_bare_number_is_seconds_where_the_tool_says_so() -> None:
    assert parse_duration("10", bare_seconds=True) == 10
    assert parse_duration("0.5", bare_seconds=True) == 0.5
    assert parse_duration("1min", bare_seconds=True) == 60
    for refused in ("-1", "1e999", "nan"):
        with pytest.raises(ValueError, match=r"not a length of time|unknown unit|lacks a unit"):
            parse_duration(refused, bare_seconds=True)


@given(st.integers(0, 10**12))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_a_duration_is_written_short() -> None:
    assert [format_duration(s) for s in (0, 0.25, 60, 5400, 90061.5)] == [
        "0s",
        "250ms",
        "1min",
        "1h 30min",
        "1d 1h 1min 1s 500ms",
    ]


@pytest.mark.parametrize(
    ("text", "decimal", "octal"), [("0755", 755, 0o755), ("755", 755, 0o755), ("0o755", 0o755, 0o755), ("0", 0, 0)]
)
def test_a_mode_in_plain_digits_means_what_the_tool_says(text: str, decimal: int, octal: int) -> None:
    assert parse_mode(text, BareMode.DECIMAL) == decimal
    assert parse_mode(text, BareMode.OCTAL) == octal


def test_a_mode_with_a_leading_zero_may_be_refused() -> None:
    assert parse_mode("493") == 0o755
    with pytest.raises(ValueError, match=r'^"0755" would be read as decimal; write `0o755`$'):
        parse_mode("0755")
    with pytest.raises(ValueError, match=r'^not a mode: "0899"; write octal digits such as `0644`$'):
        parse_mode("0899", BareMode.OCTAL)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in (parse_int, parse_size, parse_float, parse_seconds, parse_duration, parse_mode):
        try:
            assert math.isfinite(parse(text))
        except ValueError as error:
            assert "; " in str(error)
