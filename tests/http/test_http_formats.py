import json
import re
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.http.formats import Format, encode, gron, split_suffix

MEMBER = re.compile(r'\.([\w$]+)|\[("(?:[^"\\]|\\.)*")\]|\[(\d+)\]', re.ASCII)
LINE = re.compile(rf"json(?P<members>(?:{MEMBER.pattern})*) = (?P<value>.*);", re.ASCII | re.DOTALL)
DOCUMENT = {"leader": {"name": "alpha", "a-b": None}, "peers": [1, 2.5, {"x": True}], "empty": {}, "none": []}


def test_gron_is_one_assignment_a_leaf_with_sorted_keys() -> None:
    assert list(gron(DOCUMENT)) == [
        "json.empty = {};",
        'json.leader["a-b"] = null;',
        'json.leader.name = "alpha";',
        "json.none = [];",
        "json.peers[0] = 1;",
        "json.peers[1] = 2.5;",
        "json.peers[2].x = true;",
    ]


@pytest.mark.parametrize("scalar", [None, True, 7, "x\ny", [], {}])
def test_a_document_may_be_a_single_value(scalar: object) -> None:
    assert list(gron(scalar)) == [f"json = {json.dumps(scalar)};"]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(document=plain)
def test_every_format_says_the_same(document: object) -> None:
    assert json.loads(encode(document, Format.JSON)) == document
    assert json.loads(encode(document, Format.PRETTY)) == document
    assert cbor2.loads(encode(document, Format.CBOR)) == document
    assert _read_gron(encode(document, Format.GRON).decode()) == document


def test_what_json_cannot_say_is_null() -> None:
    assert encode([float("nan"), float("inf")], Format.JSON) == b"[null,null]"


def test_bytes_stay_bytes_in_cbor() -> None:
    assert cbor2.loads(encode({"matrix": b"\x00\xff"}, Format.CBOR)) == {"matrix": b"\x00\xff"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/status.gron", ("/status", Format.GRON)),
        ("/status", None),
        ("/site.45f2", None),
        ("/.json", None),
        ("/a.json/b", None),
        ("/a.b.json", ("/a.b", Format.JSON)),
    ],
)
def test_a_known_suffix_of_the_last_component_is_split_off(path: str, expected: object) -> None:
    assert split_suffix(path, list(Format)) == expected


def _read_gron(text: str) -> object:
    """The document again, made in the obvious way."""
    holder: dict[str, object] = {}
    for line in text.split("\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match is not None, line
        keys: list[Any] = ["json"]
        for name, quoted, place in MEMBER.findall(match["members"]):
            keys.append(name or (json.loads(quoted) if quoted else int(place)))
        target: Any = holder
        for key, following in zip(keys, [*keys[1:], None], strict=True):
            new: Any = json.loads(match["value"]) if following is None else [] if isinstance(following, int) else {}
            if isinstance(target, dict):
                target = target.setdefault(key, new)
            else:
                target += [new] if len(target) == key else []
                target = target[key]
    return holder["json"]
