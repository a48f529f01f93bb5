"""What rules answer: extracts, rates over falls and gaps, sums and the rest, on small stores and on plain frames."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.cantal.query.conditions import parse_condition
from manor.cantal.query.document import parse_document
from manor.cantal.query.encode import to_cbor, to_plain
from manor.cantal.query.errors import BadQuery, QueryTooBig
from manor.cantal.query.evaluate import evaluate
from manor.cantal.store.frame import Frame
from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Kind, Series
from manor.cantal.store.states import StateSample
from manor.cantal.store.view import FrameView

FALLING = [100, 104, None, 2, 8]  # at 2000, 4000, ...: a restart lies before 8000


def frame_of(
    columns: dict[tuple[tuple[str, str], ...], list[Any]],
    kind: Kind = Kind.COUNTER,
    *,
    first: int = 2000,
    kinds: dict[tuple[tuple[str, str], ...], Kind] | None = None,
    breaks: tuple[tuple[int, int], ...] = (),
) -> Frame:
    """Columns oldest first, a tick every 2 s; None is absent."""
    types = {Kind.COUNTER: np.uint64, Kind.INTEGER: np.int64, Kind.FLOAT: np.float64}
    series = tuple(Series(key, (kinds or {}).get(key, kind)) for key in columns)
    ticks = len(next(iter(columns.values())))
    bits = np.zeros((ticks, len(series)), np.uint64)
    present = np.zeros_like(bits, bool)
    for i, (one, values) in enumerate(zip(series, columns.values(), strict=True)):
        present[:, i] = [value is not None for value in values]
        bits[:, i] = np.array([value or 0 for value in values], types[one.kind]).view(np.uint64)
    marks = np.zeros_like(present)
    for row, column in breaks:
        marks[row, column] = True
    return Frame(first + 2000 * np.arange(ticks, dtype=np.int64), series, bits, present, marks)


def ask(
    frame: Frame, extract: list[Any], *functions: list[Any], condition: list[Any] | None = None, states: Any = ()
) -> dict[str, Any]:
    """The answer to one rule, as JSON would have it."""
    source = "Tip" if states else "Fine"
    series = {"source": source, "condition": condition or []}
    document = parse_document({"rules": {"q": {"series": series, "extract": extract, "functions": list(functions)}}})
    view = FrameView(frame, 2000, tuple(states))
    return to_plain(evaluate(document, view), int(frame.times[-1]), 2000)["values"]["q"]


def values(answer: dict[str, Any]) -> dict[str, list[Any]]:
    """Of series, by a short form of their keys."""
    series = answer["series"] if isinstance(answer["series"], list) else [answer["series"]]
    return {",".join(f"{n}={t}" for n, t in one["key"].items()): one["values"] for one in series}


def hits(*, kind: Kind = Kind.COUNTER) -> Frame:
    return frame_of({key_of(metric="hits"): FALLING}, kind)


@pytest.mark.case("cantal-29")
class TestTheExampleOfACounterThatWasRestarted:
    """Once as JSON, once in the binary form; both through the same rules."""

    def test_tip(self) -> None:
        assert ask(hits(), ["Tip"]) == {
            "type": "MultiTip",
            "tips": [{"key": {"metric": "hits"}, "kind": "Counter", "value": 8, "slice": [10000, 10000]}],
        }

    def test_history_by_num(self) -> None:
        (one,) = ask(hits(), ["HistoryByNum", 3])["series"]
        assert (one["values"], one["timestamps"]) == ([8, 2, None], [10000, 8000, 6000])

    def test_non_negative_derivative(self) -> None:
        (one,) = ask(hits(), ["HistoryByNum", 5], ["NonNegativeDerivative"])["series"]
        assert one["kind"] == "Float"
        assert one["values"] == [3.0, None, None, 2.0]
        assert one["timestamps"] == [10000, 8000, 6000, 4000]

    def test_rate(self) -> None:
        assert values(ask(hits(), ["HistoryByNum", 5], ["Rate", 4000])) == {"metric=hits": [3.0, 0.5, None, 2.0]}

    @pytest.mark.parametrize(("ticks", "value", "oldest"), [(4, 12, 2000), (1, 6, 8000)])
    def test_diff_to_at_most(self, ticks: int, value: int, oldest: int) -> None:
        (tip,) = ask(hits(), ["DiffToAtMost", ticks])["tips"]
        assert (tip["kind"], tip["value"], tip["slice"]) == ("Counter", value, [10000, oldest])

    def test_history_by_time(self) -> None:
        (one,) = ask(hits(), ["HistoryByTime", 3000])["series"]
        assert one["timestamps"] == [10000, 8000, 6000]

    @pytest.mark.parametrize(
        ("extract", "functions", "expected"),
        [
            (["Tip"], [], [201, [[b"\xa1\x66metric\x64hits", [1, 8], [10000, 10000]]]]),
            (
                ["HistoryByNum", 3],
                [],
                [101, [[b"\xa1\x66metric\x64hits", [1, [8, 2, None]], [10000, 8000, 6000]]]],
            ),
            (
                ["HistoryByNum", 5],
                [["NonNegativeDerivative"]],
                [101, [[b"\xa1\x66metric\x64hits", [3, [3.0, None, None, 2.0]], [10000, 8000, 6000, 4000]]]],
            ),
            (
                ["HistoryByNum", 5],
                [["Rate", 4000]],
                [101, [[b"\xa1\x66metric\x64hits", [3, [3.0, 0.5, None, 2.0]], [10000, 8000, 6000, 4000]]]],
            ),
            (["DiffToAtMost", 4], [], [201, [[b"\xa1\x66metric\x64hits", [1, 12], [10000, 2000]]]]),
            (["DiffToAtMost", 1], [], [201, [[b"\xa1\x66metric\x64hits", [1, 6], [10000, 8000]]]]),
            (
                ["HistoryByTime", 3000],
                [],
                [101, [[b"\xa1\x66metric\x64hits", [1, [8, 2, None]], [10000, 8000, 6000]]]],
            ),
        ],
    )
    def test_the_same_in_cbor(self, extract: list[Any], functions: list[Any], expected: list[Any]) -> None:
        rule = {"series": {"source": "Fine"}, "extract": extract, "functions": functions}
        results = evaluate(parse_document({"rules": {"q": rule}}), FrameView(hits(), 2000))
        assert cbor2.loads(to_cbor(results)) == {"values": {"q": expected}}


def test_the_binary_form_is_byte_for_byte_the_old_one() -> None:
    rule = {"series": {"source": "Fine"}, "functions": [["Sum", "Ignore"]]}
    results = evaluate(parse_document({"rules": {"q": rule}}), FrameView(hits(), 2000))
    assert to_cbor(results).hex(" ") == bytes.fromhex(
        "a1 66 76616c756573 a1 61 71 84 18c8 4d a1666d6574726963 6468697473 82 01 08 82 192710 192710"
    ).hex(" ")


@pytest.mark.case("cantal-28")
def test_a_gap_of_a_level_stays_where_it_was() -> None:
    level = frame_of({key_of(metric="l"): [10, 7, None, 9]}, Kind.INTEGER)
    assert values(ask(level, ["HistoryByNum", 4])) == {"metric=l": [9, None, 7, 10]}


class TestRates:
    def test_a_fall_of_a_level_is_a_negative_derivative_but_no_growth(self) -> None:
        level = frame_of({key_of(metric="l"): [10, 4]}, Kind.INTEGER)
        assert values(ask(level, ["HistoryByNum", 2], ["Derivative"])) == {"metric=l": [-3.0]}
        assert values(ask(level, ["HistoryByNum", 2], ["NonNegativeDerivative"])) == {"metric=l": [None]}
        assert values(ask(level, ["HistoryByNum", 2], ["Delta"])) == {"metric=l": [-6]}

    def test_a_fall_of_a_counter_is_a_restart(self) -> None:
        assert values(ask(hits(), ["HistoryByNum", 5], ["Derivative"])) == {"metric=hits": [3.0, None, None, 2.0]}
        assert values(ask(hits(), ["HistoryByNum", 5], ["Delta"])) == {"metric=hits": [6, None, None, 4]}

    def test_a_gap_longer_than_allowed_has_no_rate(self) -> None:
        assert values(ask(hits(), ["HistoryByNum", 5], ["Rate", 3999])) == {"metric=hits": [3.0, None, None, 2.0]}

    def test_nothing_spans_a_break(self) -> None:
        broken = frame_of({key_of(metric="c"): [1, 5, 9]}, breaks=((1, 0),))
        for function in (["NonNegativeDerivative"], ["Derivative"], ["Rate", 60_000]):
            assert values(ask(broken, ["HistoryByNum", 3], function)) == {"metric=c": [2.0, None]}
        assert ask(broken, ["DiffToAtMost", 2])["tips"][0]["value"] == 4

    def test_counters_are_subtracted_exactly_before_they_become_floats(self) -> None:
        large = frame_of({key_of(metric="c"): [2**64 - 3, 2**64 - 1]})
        assert values(ask(large, ["HistoryByNum", 2], ["NonNegativeDerivative"])) == {"metric=c": [1.0]}

    def test_levels_far_apart_do_not_wrap(self) -> None:
        far = frame_of({key_of(metric="l"): [-(2**63), 2**63 - 1]}, Kind.INTEGER)
        assert values(ask(far, ["HistoryByNum", 2], ["Derivative"])) == {"metric=l": [pytest.approx(2.0**63)]}

    def test_what_is_not_finite_has_no_rate(self) -> None:
        odd = frame_of({key_of(metric="f"): [1.0, math.nan, 3.0, math.inf]}, Kind.FLOAT)
        assert values(ask(odd, ["HistoryByNum", 4], ["Derivative"])) == {"metric=f": [None, None, None]}

    @given(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)), min_size=1, max_size=12))
    def test_vectorised_increase_is_the_obvious_one(self, samples: list[int | None]) -> None:
        expected, last, seen = 0, None, 0
        for sample in samples:
            if sample is None:
                continue
            seen += 1
            if last is not None:
                expected += sample - last if sample >= last else sample
            last = sample
        tips = ask(frame_of({key_of(metric="c"): samples}), ["DiffToAtMost", 20])["tips"]
        assert [tip["value"] for tip in tips] == ([expected % 2**64] if seen > 1 else [])

    def test_gaps_can_be_filled_for_a_while(self) -> None:
        gap = frame_of({key_of(metric="l"): [7, None, None, None, 9]}, Kind.INTEGER)
        filled = ask(gap, ["HistoryByNum", 5], ["FillGaps", 4000])
        assert values(filled) == {"metric=l": [9, None, 7, 7, 7]}


class TestExtracts:
    def test_a_tip_is_the_newest_sample_however_old(self) -> None:
        old = frame_of({key_of(metric="a"): [5, None, None], key_of(metric="b"): [1, 2, 3]})
        tips = ask(old, ["Tip"])["tips"]
        assert [(tip["value"], tip["slice"]) for tip in tips] == [(5, [2000, 2000]), (3, [6000, 6000])]
        assert [tip["value"] for tip in ask(old, ["FreshTip", 2000])["tips"]] == [3]

    def test_ranges(self) -> None:
        one = frame_of({key_of(metric="a"): [1, 2, 3, 4]})
        assert values(ask(one, ["HistoryRange", 4000, 6000])) == {"metric=a": [3, 2]}
        assert values(ask(one, ["HistorySince", 4000])) == {"metric=a": [4, 3]}
        assert ask(one, ["HistorySince", 9000]) == {"type": "MultiSeries", "series": []}


MIXED = {key_of(metric="a", cgroup="x"): [None, 5], key_of(metric="a", cgroup="y"): [1, 7]}


@pytest.mark.case("cantal-36")
class TestPuttingMembersTogether:
    def test_the_example_of_two_groups(self) -> None:
        two = frame_of(MIXED)
        all_ticks = ["HistoryByNum", 9]
        assert values(ask(two, all_ticks, ["Sum", "Ignore"])) == {"": [12, 1]}
        assert values(ask(two, all_ticks, ["SumBy", "cgroup", "Ignore", True])) == {
            "cgroup=x": [5, None],
            "cgroup=y": [7, 1],
            "": [12, 1],
        }
        assert values(ask(two, all_ticks, ["Quantiles", [0.5], []])) == {"quantile=0.5": [6.0, 1.0]}

    def test_sum_is_single_keeps_the_key_of_one_and_is_empty_of_none(self) -> None:
        two = frame_of(MIXED)
        answer = ask(two, ["HistoryByNum", 9], ["Sum", "Ignore"])
        assert answer["type"] == "SingleSeries" and answer["series"]["key"] == {}
        one = ask(two, ["Tip"], ["Sum", "Ignore"], condition=["Eq", "cgroup", "x"])
        assert one["type"] == "SingleTip" and one["tip"]["key"] == {"cgroup": "x", "metric": "a"}
        assert ask(two, ["Tip"], ["Sum", "Ignore"], condition=["Has", "nothing"]) == {"type": "Empty"}

    def test_tips_of_the_dead_are_not_added(self) -> None:
        dead = frame_of({key_of(pid="1", g="x"): [5, None], key_of(pid="2", g="x"): [1, 7]})
        assert ask(dead, ["Tip"], ["Sum", "Ignore"])["tip"] == {
            "key": {},
            "kind": "Counter",
            "value": 7,
            "slice": [4000, 4000],
        }
        tips = ask(dead, ["Tip"], ["SumBy", "g", "Ignore", True])["tips"]
        assert [(tip["key"], tip["value"]) for tip in tips] == [({"g": "x"}, 7), ({}, 7)]

    def test_differences_are_all_added_and_their_slice_spans_them_all(self) -> None:
        two = frame_of({key_of(pid="1"): [5, 9, None], key_of(pid="2"): [None, 1, 7]})
        tip = ask(two, ["DiffToAtMost", 5], ["Sum", "Ignore"])["tip"]
        assert (tip["value"], tip["slice"]) == (10, [6000, 2000])

    def test_mixed_kinds_are_dissimilar(self) -> None:
        kinds = {key_of(metric="b"): Kind.INTEGER}
        mixed = frame_of({key_of(metric="a"): [1, 2], key_of(metric="b"): [3, 4]}, kinds=kinds)
        for extract in (["Tip"], ["HistoryByNum", 2]):
            for function in (
                ["Sum", "Ignore"],
                ["SumBy", "metric", "Ignore", False],
                ["Aggregate", "mean", []],
                ["Quantiles", [0.5], []],
            ):
                assert ask(mixed, extract, function) == {"type": "Incompatible", "reason": "Dissimilar"}

    @pytest.mark.parametrize(
        ("operation", "kind", "expected"),
        [
            ("sum", "Integer", [5, 3]),
            ("mean", "Float", [2.5, 1.5]),
            ("min", "Integer", [-1, 1]),
            ("max", "Integer", [6, 2]),
            ("count", "Integer", [2, 2]),
            ("first", "Integer", [-1, 1]),
            ("last", "Integer", [6, 2]),
        ],
    )
    def test_aggregates(self, operation: str, kind: str, expected: list[Any]) -> None:
        two = frame_of({key_of(metric="a"): [1, -1], key_of(metric="b"): [2, 6]}, Kind.INTEGER)
        (one,) = ask(two, ["HistoryByNum", 2], ["Aggregate", operation, []])["series"]
        assert (one["kind"], one["values"]) == (kind, expected)
        (tip,) = ask(two, ["Tip"], ["Aggregate", operation, []])["tips"]
        assert (tip["kind"], tip["value"]) == (kind, expected[0])

    def test_a_sum_that_does_not_fit_becomes_a_float(self) -> None:
        two = frame_of({key_of(metric="a"): [2**63], key_of(metric="b"): [2**63]})
        tip = ask(two, ["Tip"], ["Sum", "Ignore"])["tip"]
        assert (tip["kind"], tip["value"]) == ("Float", 2.0**64)

    def test_the_largest_and_the_smallest(self) -> None:
        three = frame_of({key_of(m="a"): [9, 1], key_of(m="b"): [2, 2], key_of(m="c"): [0, 2]}, Kind.INTEGER)
        history = ["HistoryByNum", 2]
        assert list(values(ask(three, history, ["TopK", 2, "last"]))) == ["m=b", "m=c"]
        assert list(values(ask(three, history, ["TopK", 1, "mean"]))) == ["m=a"]
        assert list(values(ask(three, history, ["BottomK", 1, "max"]))) == ["m=b"]
        assert [tip["value"] for tip in ask(three, ["Tip"], ["BottomK", 1, "last"])["tips"]] == [1]

    def test_expect_passes_what_fits(self) -> None:
        two = frame_of(MIXED)
        passed = ask(two, ["HistoryByNum", 2], ["Expect", ["MultiSeries", "Counter"]])
        assert passed == ask(two, ["HistoryByNum", 2])
        refused = {"type": "Incompatible", "reason": "UnexpectedType"}
        assert ask(two, ["HistoryByNum", 2], ["Expect", ["MultiSeries", "Level"]]) == refused
        assert ask(two, ["Tip"], ["Expect", ["SingleTip", "Counter"]], ["Scale", 2]) == refused

    def test_states_are_counted_idle_ones_left_out(self) -> None:
        states = [
            StateSample(key_of(pid=str(i)), since, text, 2000)
            for i, (since, text) in enumerate([(1, "read"), (1, "read"), (1, "write"), (1, "wait"), (0, "idle")])
        ]
        empty = frame_of({key_of(metric="a"): [1]})
        chart = ask(empty, ["Tip"], ["StateChart", 1], states=states)
        assert chart == {"type": "Chart", "counts": {"read": 2, "(other)": 2}}
        assert ask(empty, ["HistoryByNum", 1], ["StateChart", 1]) == {"type": "Incompatible", "reason": "Unsupported"}
        refused = {"type": "Incompatible", "reason": "CantSumChart"}
        assert ask(empty, ["Tip"], ["StateChart", 3], ["Sum", "Ignore"], states=states) == refused
        assert ask(empty, ["Tip"], ["Sum", "Ignore"], states=states)["reason"] == "CantSumStates"

    def test_windows_end_at_multiples_of_the_step(self) -> None:
        one = frame_of({key_of(m="a"): [1, 2, None, 4, 5]}, Kind.INTEGER)
        (mean,) = ask(one, ["HistoryByNum", 9], ["Downsample", 4000, "mean"])["series"]
        assert (mean["values"], mean["timestamps"]) == ([5.0, 4.0, 1.5], [12000, 8000, 4000])
        assert values(ask(one, ["HistoryByNum", 9], ["Downsample", 4000, "sum"])) == {"m=a": [5, 4, 3]}

    def test_scale_makes_floats(self) -> None:
        assert values(ask(frame_of(MIXED), ["HistoryByNum", 2], ["Scale", 0.5])) == {
            "cgroup=x,metric=a": [2.5, None],
            "cgroup=y,metric=a": [3.5, 0.5],
        }


@pytest.mark.case("cantal-38")
def test_combined_rules_are_paired_without_their_metric_and_division_by_zero_is_null() -> None:
    frame = frame_of(
        {
            key_of(metric="time", state="a"): [10, 30],
            key_of(metric="time", state="b"): [10, 30],
            key_of(metric="count", state="a"): [0, 4],
            key_of(metric="count", state="c"): [5, 5],
        }
    )
    rules = {
        name: {
            "series": {"source": "Fine", "condition": ["Eq", "metric", name]},
            "extract": ["HistoryByNum", 2],
        }
        for name in ("time", "count")
    }
    document = parse_document({"rules": rules, "combine": {"mean": ["Div", "time", "count"]}})
    answer = to_plain(evaluate(document, FrameView(frame, 2000)), 4000, 2000)["values"]
    assert set(answer) == {"time", "count", "mean"}
    assert values(answer["mean"]) == {"state=a": [7.5, None]}


def test_tips_and_plain_numbers_are_combined_too() -> None:
    frame = frame_of({key_of(metric="a", g="x"): [3], key_of(metric="b", g="x"): [2]}, Kind.INTEGER)
    rules = {n: {"series": {"source": "Fine", "condition": ["Eq", "metric", n]}} for n in ("a", "b")}
    document = parse_document({"rules": rules, "combine": {"c": ["Add", ["Mul", "a", 10], "b"]}})
    (tip,) = to_plain(evaluate(document, FrameView(frame, 2000)), 2000, 2000)["values"]["c"]["tips"]
    assert (tip["key"], tip["value"]) == ({"g": "x"}, 32.0)


KEYS = [key_of(metric="cpu.user"), key_of(metric="rss", pid="1"), key_of(metric="rss", pid="23", cgroup="web")]


@pytest.mark.case("cantal-35")
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (["Eq", "pid", "1"], [1]),
        (["NotEq", "pid", "1"], [2]),
        (["RegexLike", "metric", "^cpu\\."], [0]),
        (["RegexLike", "pid", "3"], [2]),
        (["Has", "pid"], [1, 2]),
        (["And", ["Has", "pid"], ["Eq", "metric", "rss"], ["Has", "cgroup"]], [2]),
        (["And", ["Has", "pid"]], [1, 2]),
        (["Or", ["Eq", "pid", "1"], ["Prefix", "metric", "cpu"]], [0, 1]),
        (["Not", ["Eq", "pid", "1"]], [0, 2]),
        (["In", "pid", ["1", "23", "9"]], [1, 2]),
        (["In", "pid", []], []),
        (["Prefix", "pid", "2"], [2]),
        (["All"], [0, 1, 2]),
        ([], [0, 1, 2]),
    ],
)
def test_conditions(condition: list[Any], expected: list[int]) -> None:
    meant = parse_condition(condition, "c")
    assert [i for i, key in enumerate(KEYS) if meant.matches(dict(key))] == expected


def rule(**members: Any) -> dict[str, Any]:
    return {"rules": {"busy": {"series": {"source": "Fine"}, **members}}}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (
            rule(functions=[["Derivative"], ["SumBy", "metric", "Ignore"]]),
            "rules.busy.functions[1]: SumBy takes 3 arguments, 2 given",
        ),
        (
            rule(functions=[["Sumby", "metric", "Ignore", True]]),
            "rules.busy.functions[0]: unknown function `Sumby`; did you mean `SumBy`?",
        ),
        (
            rule(functions=[["Sum", "Zero"]]),
            """rules.busy.functions[0][1]: one of "Ignore" is expected, 'Zero' given""",
        ),
        (rule(extract=["HistoryByNum", 0]), "rules.busy.extract[1]: a whole number of at least 1 is expected, 0 given"),
        (rule(extract="Tip"), "rules.busy.extract: a list is expected that begins with the name of the extract"),
        (rule(limit=3), "rules.busy: unknown member `limit`; known are extract, functions, series"),
        ({"rules": {}}, "rules: 1 to 100 are allowed, 0 given"),
        ({}, "`rules` is missing"),
        ([], "an object is expected"),
        ({"rules": {"q": {}}}, "rules.q: `series` is missing"),
        (
            {"rules": {"q": {"series": {"source": "Fine", "condition": ["And"]}}}},
            "rules.q.series.condition: And takes 1 to 32 arguments, 0 given",
        ),
        (
            {"rules": {"q": {"series": {"source": "Fine", "condition": ["Not", ["Eq", "a", 1]]}}}},
            "rules.q.series.condition[1][2]: a text is expected, 1 given",
        ),
        (
            {"rules": {"q": {"series": {"source": "Fine"}}}, "combine": {"c": ["Div", "q", "p"]}},
            "combine.c[2]: there is no rule `p`; the names are those of `rules`",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place(document: Any, complaint: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_document(document)
    assert str(caught.value) == complaint


class TestPatternsFromTheNetwork:
    def test_what_is_not_linear_is_refused_with_its_place(self) -> None:
        with pytest.raises(BadQuery, match=r"rules\.q\.series\.condition\[2\]: bad pattern"):
            parse_document({"rules": {"q": {"series": {"source": "Fine", "condition": ["RegexLike", "m", r"(a)\1"]}}}})

    def test_a_wrong_arity_and_an_unknown_function_are_refused_with_their_place(self) -> None:
        with pytest.raises(BadQuery, match=r"^rules\.busy\.functions\[0\]: Sum takes 1 argument, 0 given"):
            parse_document(rule(functions=[["Sum"]]))
        with pytest.raises(BadQuery, match=r"^rules\.busy\.functions\[0\]: unknown function `Total`"):
            parse_document(rule(functions=[["Total"]]))

    def test_a_pattern_that_kills_backtracking_engines_is_nothing_special(self) -> None:
        condition = parse_condition(["RegexLike", "m", "(a+)+$"], "c")
        assert all(condition.matches({"m": "a" * 1000, "i": str(i)}) for i in range(1000))
        assert not any(condition.matches({"m": "a" * 1000 + "b", "i": str(i)}) for i in range(1000))


def test_limits_are_named() -> None:
    deep: list[Any] = ["All"]
    for _ in range(40):
        deep = ["Not", deep]
    with pytest.raises(QueryTooBig, match="nested deeper than 32"):
        parse_condition(deep, "c")
    with pytest.raises(QueryTooBig, match="more than 1000 characters"):
        parse_condition(["RegexLike", "m", "a" * 1001], "c")
    document = parse_document(rule(extract=["HistoryByNum", 5]))
    ticking = iter([0.0, 11.0])
    with pytest.raises(QueryTooBig, match="longer than 10 s"):
        evaluate(document, FrameView(hits(), 2000), lambda: next(ticking))
