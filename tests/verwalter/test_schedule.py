"""Schedules: canonical text, hash, descent, shape."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.verwalter.schedule import (
    ANCESTORS_MAX,
    OWN_KEPT,
    BadSchedule,
    Envelope,
    Shelf,
    canonical,
    decode,
    decode_own,
    descent,
    encode,
    hash_of,
    in_order,
    take_apart,
    true_parents,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
MIB = 1024 * 1024


def envelope(data: dict[str, Any], timestamp: int = 1000, **changes: Any) -> Envelope:
    return Envelope(
        **{"hash": hash_of(data), "timestamp": timestamp, "origin": "aa", "epoch": 1, "data": data, **changes}
    )


def test_canonical_text_is_the_one_everybody_can_make() -> None:
    data = {"b": [1.0, 1, True, None], "a": 'é"\\\n\u0001/', "Z": {}}
    assert canonical(data) == b'{"Z":{},"a":"\xc3\xa9\\"\\\\\\n\\u0001/","b":[1.0,1,true,null]}'
    assert hash_of(data) == hashlib.sha256(canonical(data)).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}])
def test_what_is_no_json_has_no_hash(value: object) -> None:
    with pytest.raises(BadSchedule, match="cannot be written as JSON"):
        hash_of({"a": value})


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_schedule_survives_the_network_whatever_it_holds(data: dict[str, Any]) -> None:
    try:
        sent = envelope(data)
    except BadSchedule:
        return  # half characters in keys
    assert decode(encode(sent), source="beta", bytes_max=MIB) == sent


def test_a_changed_schedule_a_short_hash_and_nonsense_are_refused() -> None:
    good = json.loads(encode(envelope({"a": 1})))
    for changes, match in (
        ({"data": {"a": 2}}, "its data hashes to"),
        ({"hash": "ab" * 20}, "is no hash"),
        ({"timestamp": "soon"}, "is no envelope"),
    ):
        with pytest.raises(BadSchedule, match=match):
            decode(json.dumps({**good, **changes}).encode(), source="beta", bytes_max=MIB)
    with pytest.raises(BadSchedule, match=r"`scheduler\.max-schedule`"):
        decode(json.dumps(good).encode(), source="beta", bytes_max=10)


def test_an_older_systems_file_with_a_hash_of_40_digits_is_hashed_anew() -> None:
    old = json.loads(encode(envelope({"a": 1}))) | {"hash": "ab" * 20}
    assert decode_own(json.dumps(old).encode(), source="schedule.json", bytes_max=MIB).hash == hash_of({"a": 1})
    with pytest.raises(BadSchedule, match="hashes to"):
        decode_own(json.dumps({**old, "hash": "ab" * 32}).encode(), source="schedule.json", bytes_max=MIB)


def test_descent_is_parents_then_their_ancestors_newest_first_and_bounded() -> None:
    old = envelope({"n": 0}, 100, ancestors=tuple((f"{n:064x}", n) for n in range(40, 0, -1)))
    new = envelope({"n": 1}, 200, ancestors=((old.hash, 100),))
    found = descent([new, old])
    assert found[:2] == ((new.hash, 200), (old.hash, 100))
    assert len(found) == ANCESTORS_MAX
    assert len({hash for hash, _ in found}) == ANCESTORS_MAX


def test_parents_are_ordered_own_first_then_newest() -> None:
    own, late, later = envelope({"n": 0}, 100), envelope({"n": 1}, 200), envelope({"n": 2}, 300)
    assert in_order(own, [late, later, own]) == (own, later, late)


def test_forefathers_and_leftovers_are_no_parents() -> None:
    forefather = envelope({"n": 0}, 50)
    full = (*((f"{n:064x}", n) for n in range(100 + ANCESTORS_MAX, 101, -1)), (forefather.hash, 101))
    own = envelope({"n": 1}, 500, ancestors=full)
    leftover, other_side = envelope({"n": 2}, 60), envelope({"n": 3}, 400)
    kept, left_out = true_parents(own, [forefather, leftover, other_side])
    assert kept == (own, other_side)
    assert {one.hash for one in left_out} == {forefather.hash, leftover.hash}


def test_the_shelf_is_bounded_and_keeps_the_newest() -> None:
    shelf = Shelf()
    made = [envelope({"n": n}, n) for n in range(OWN_KEPT + 5)]
    for one in made:
        shelf.put(one)
    assert shelf.get(made[0].hash) is None
    assert shelf.get(made[-1].hash) == made[-1]
    assert shelf.text(made[-1].hash) == encode(made[-1])


def test_a_result_is_cut_into_data_changes_and_the_wish_for_the_next_run() -> None:
    outcome = take_apart({"roles": [], "changes": ["x" * 2000], "next_run": 5, "own": 1, "nodes": {"a": {"roles": []}}})
    assert outcome.data == {"roles": {}, "own": 1, "nodes": {"a": {"roles": {}}}}
    assert (len(outcome.changes[0]), outcome.next_run, outcome.misshapen) == (1024, 5, ())


def test_wrong_types_are_treated_as_empty_and_said() -> None:
    result = {"roles": 5, "nodes": {"a": 1, "b": {"roles": "x"}}, "changes": "text", "next_run": "soon"}
    outcome = take_apart(result)
    assert outcome.data == {"roles": {}, "nodes": {"a": {}, "b": {"roles": {}}}}
    assert [line.split()[0] for line in outcome.misshapen] == [
        "`roles`", "`nodes.a`", "`nodes.b.roles`", "`changes`", "`next_run`"
    ]  # fmt: skip
