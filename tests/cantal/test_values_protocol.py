"""The description of published values: what each line becomes, and what is wrong with it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Kind
from manor.cantal.values import (
    Layout,
    MalformedMeta,
    all_defects,
    pair_paths,
    parse_meta,
    published_key,
    read_state,
)


def described(text: str) -> list[tuple[int, int, Kind, dict[str, str]]]:
    return [(e.offset, e.length, e.kind, dict(e.pairs)) for e in parse_meta(text.encode()).entries]


def test_entries_follow_each_other_and_unknown_ones_are_skipped() -> None:
    text = (
        'counter 8: {"metric": "c"}\r\n'
        'level 8 signed: {"metric": "i"}\n'
        "\n"
        'level 8 unsigned:{"metric": "u"}\n'
        'level 8 float   :   {"metric": "f"}\n'
        'level 8: {"metric": "p"}\n'
        "pad 5 anything\n"
        'state 16: {"metric": "s"}\n'
        'gauge 16: {"metric": "g"}\n'
        'level 4 signed: {"metric": "short"}\n'
        'counter 8: {"metric": "last"}'
    )
    assert described(text) == [
        (0, 8, Kind.COUNTER, {"metric": "c"}),
        (8, 8, Kind.INTEGER, {"metric": "i"}),
        (16, 8, Kind.INTEGER, {"metric": "u"}),
        (24, 8, Kind.FLOAT, {"metric": "f"}),
        (32, 8, Kind.INTEGER, {"metric": "p"}),
        (45, 16, Kind.STATE, {"metric": "s"}),
        (81, 8, Kind.COUNTER, {"metric": "last"}),
    ]
    defects = [(d.line, d.text) for d in parse_meta(text.encode()).defects]
    assert defects == [
        (9, "unknown type `gauge 16`; skipped"),
        (10, "unknown type `level 4 signed`; skipped"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("counter x: {}", 1, "cannot be read"),
        ("pad 1\ncounter 0: {}", 2, "bad length of `counter`; 1 to 255 is allowed"),
        ("counter 256: {}", 1, "bad length of `counter`"),
        ("state 65536: {}", 1, "bad length of `state`; 1 to 65535 is allowed"),
        ("pad 65536", 1, "bad length of `pad`"),
        ("pad x", 1, "bad length of `pad`; a decimal number is expected"),
        ("new 99999999999999999999: {}", 1, "bad length of `new`"),
        ("counter 8 {}", 1, "cannot be read"),
        ("counter 8: {", 1, "bad JSON"),
        ('counter 8: {"a": NaN}', 1, "bad JSON"),
        ("counter 8: [1]", 1, "the JSON is no object"),
        ("counter 8:" + "[" * 100_000, 1, "bad JSON"),
        ("\n".join(["pad 1"] * 10_001), 10_001, "more than 10000 entries"),
        ("\n".join(["pad 65535"] * 300), 0, "more than 16777216"),
        (" " * (1 << 20) + " ", 0, "more than 1048576 bytes"),
    ],
)
def test_a_line_that_cannot_be_read_makes_the_whole_file_useless(text: str, line: int, complaint: str) -> None:
    with pytest.raises(MalformedMeta) as caught:
        parse_meta(text.encode())
    assert caught.value.line == line
    assert complaint in caught.value.text


@pytest.mark.parametrize(
    ("json", "pairs"),
    [
        ('{"a": 1, "b": 1.50, "c": true, "d": -3}', {"a": "1", "b": "1.50", "c": "true", "d": "-3"}),
        ("{}", {}),
        ('{"a": "tab\\tand \\u0000"}', {"a": "tab and  "}),
        ('{"a": "\\ud800"}', {"a": "?"}),
        ('{"a": null}', None),
        ('{"a": ["x"]}', None),
        ('{"a": {"b": "c"}}', None),
        ('{"": "empty name"}', None),
        ('{"' + "n" * 129 + '": "a"}', None),
        ('{"a": "' + "x" * 1025 + '"}', None),
        ("{" + ", ".join(f'"{i}": "x"' for i in range(33)) + "}", None),
    ],
)  # fmt: skip
def test_values_of_pairs_are_text_or_become_text_or_the_metric_is_left_out(
    json: str, pairs: dict[str, str] | None
) -> None:
    description = parse_meta(f"counter 8: {json}\ncounter 8: {{}}".encode())
    assert [dict(e.pairs) for e in description.entries] == ([pairs, {}] if pairs is not None else [{}])
    assert len(description.defects) == (pairs is None)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_are_more_than_malformed(data: bytes) -> None:
    try:
        description = parse_meta(data)
    except MalformedMeta:
        return
    Layout(description.entries).read_numbers(data)


def test_labels_of_the_agent_cannot_be_forged() -> None:
    (entry,) = parse_meta(b'counter 8: {"metric": "m", "pid": "1", "cgroup": "x"}').entries
    assert published_key(entry.pairs, pid="77", cgroup="real") == key_of(
        metric="m", pid="77", cgroup="real", exported_pid="1", exported_cgroup="x"
    )


def test_numbers_are_read_by_one_gather_wherever_they_lie() -> None:
    description = parse_meta(
        b'counter 8: {"n": "1"}\npad 3\nlevel 8 unsigned: {"n": "2"}\nlevel 8 float: {"n": "3"}\nlevel 8: {"n": "4"}'
    )
    data = struct.pack("=Q3xQdq", 97, 2**64 - 1, 1.5, -3)
    bits, present = Layout(description.entries).read_numbers(data)
    assert present is None
    assert bits.tolist()[:2] == [97, 2**63 - 1]
    assert bits[2:3].view("f8")[0] == 1.5 and bits[3:].view("i8")[0] == -3


def test_what_lies_wholly_inside_a_short_file_is_there() -> None:
    layout = Layout(parse_meta(b'counter 8: {"n": "1"}\ncounter 8: {"n": "2"}\ncounter 8: {"n": "3"}').entries)
    for length, there in ((0, 0), (7, 0), (8, 1), (23, 2), (24, 3)):
        bits, present = layout.read_numbers(struct.pack("=QQQ", 5, 6, 7)[:length])
        assert (len(bits) if present is None else int(present.sum())) == there


def test_states_end_at_the_first_nul_and_bad_bytes_are_replaced() -> None:
    description = parse_meta(b'state 16: {"n": "1"}\nstate 12: {"n": "2"}')
    data = struct.pack("=Q8sQ4s", 1500, b"abc\0left", 7, b"\xff\xfeab")
    assert [read_state(entry, data) for entry in description.entries] == [(1500, "abc"), (7, "\ufffd\ufffdab")]
    assert read_state(description.entries[1], data[:-1]) is None


def test_of_equal_keys_the_last_one_counts_and_the_others_are_told() -> None:
    description = parse_meta(b'counter 8: {"n": 1}\ncounter 8: {"n": "1"}\ncounter 8: {"m": "1"}')
    assert [entry.line for entry in Layout(description.entries).numbers] == [2, 3]
    assert [(d.line, d.text) for d in all_defects(description, 20)] == [
        (1, "the same key again in line 2; the last one counts"),
        (3, "`.values` has 20 bytes, this entry ends at 24"),
    ]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/hello/world", "/hello/world.values"),
        ("/hello/world.1.2", "/hello/world.1.2.values"),
        ("/hello.1/world", "/hello.1/world.values"),
        ("/hello/world/", "/hello/world.values"),
    ],
)
def test_both_names_are_the_path_and_a_suffix(path: str, values: str) -> None:
    assert pair_paths(path)[1] == values
