"""When rounds run, what they are given, and what becomes of actions."""

from __future__ import annotations

from typing import Any

import pytest

from manor.verwalter.actions import PENDING_MAX, Answer, Ending, PendingActions, TooManyActions
from manor.verwalter.membership import Peer
from manor.verwalter.metadata import Tree, Trouble
from manor.verwalter.round_input import KnownPeer, Situation, scheduler_input
from manor.verwalter.rounds import AFTER_ACTION_S, RoundClock, RoundTimes
from manor.verwalter.schedule import Envelope, Stamp
from manor.verwalter.settings import Scheduler


def times() -> RoundTimes:
    return RoundTimes(interval_s=5.0, next_at=100.0)


def test_a_round_follows_five_seconds_after_the_end_of_the_last() -> None:
    rounds = times()
    assert rounds.due_at == 100.0
    assert rounds.starts(100.0) == 1
    assert rounds.due_at is None
    rounds.succeeded(100.5)
    assert rounds.due_at == 105.5
    assert rounds.starts(105.5) == 2


def test_an_action_brings_the_next_round_forward_but_never_two_in_a_second() -> None:
    rounds = times()
    rounds.starts(100.0)
    rounds.succeeded(100.1)
    rounds.wake(100.2, AFTER_ACTION_S)
    assert rounds.due_at == 101.0
    rounds.wake(103.0, AFTER_ACTION_S)
    assert rounds.due_at == 101.0, "a later wish does not delay an earlier one"


def test_what_happens_during_a_round_is_seen_by_the_next() -> None:
    rounds = times()
    rounds.starts(100.0)
    rounds.wake(100.5)
    rounds.succeeded(102.0)
    assert rounds.due_at == 102.0


def test_a_scheduler_may_ask_for_its_next_round_earlier_not_later() -> None:
    rounds = times()
    rounds.starts(100.0)
    rounds.succeeded(100.0, asked_in_s=2.0)
    assert rounds.due_at == 102.0
    rounds.starts(102.0)
    rounds.succeeded(102.0, asked_in_s=60.0)
    assert rounds.due_at == 107.0


def test_a_failed_round_is_tried_again_after_a_second_and_the_time_of_failing_is_kept() -> None:
    rounds = times()
    for now in (100.0, 101.0, 102.0):
        rounds.starts(now)
        rounds.failed(now)
    assert (rounds.due_at, rounds.failures_in_row, rounds.failing_for(110.0)) == (103.0, 3, 10.0)
    rounds.starts(103.0)
    rounds.succeeded(103.0)
    assert (rounds.failures_in_row, rounds.failing_for(110.0)) == (0, 0.0)


def test_the_clock_of_rounds_does_not_go_back() -> None:
    clock = RoundClock()
    assert [clock.read(ms) for ms in (5_000_000, 4_000_000, 5_000_001)] == [5_000_000, 5_000_000, 5_000_001]
    assert not clock.behind
    assert clock.read(1_000_000) == 1_000_000, "more than an hour is believed, and reported"
    assert clock.behind


# Actions


def test_actions_are_numbered_by_their_time_and_given_in_order() -> None:
    actions = PendingActions()
    assert [actions.register(document, 1000) for document in ("a", "b")] == [1000, 1001]
    assert actions.register("c", 5000) == 5000
    assert list(actions.documents().items()) == [("1000", "a"), ("1001", "b"), ("5000", "c")]


def test_a_successful_round_ends_its_actions_answered_or_not_and_keeps_later_ones() -> None:
    actions, told = PendingActions(), dict[int, Answer]()
    first, second = actions.register("a", 1000), actions.register("b", 1000)
    for id in (first, second):
        actions.wait(id, lambda answer, id=id: told.__setitem__(id, answer))  # type: ignore[misc]
    given = actions.documents()
    third = actions.register("c", 1000)
    assert actions.succeeded(given, {str(first): {"ok": True}, "77": 1}) == ("77",)
    assert told == {first: Answer(Ending.ANSWERED, {"ok": True}), second: Answer(Ending.UNANSWERED)}
    assert (actions.is_pending(first), actions.is_pending(third)) == (False, True)


def test_with_the_leadership_all_actions_are_lost() -> None:
    actions, told = PendingActions(), list[Answer]()
    actions.wait(actions.register("a", 1000), told.append)
    assert actions.lose_all() == ("1000",)
    assert told == [Answer(Ending.LOST)]
    assert actions.documents() == {}


def test_at_most_a_thousand_actions_wait() -> None:
    actions = PendingActions()
    for number in range(PENDING_MAX):
        actions.register(number, 1)
    with pytest.raises(TooManyActions, match="1000 actions wait"):
        actions.register("one more", 1)


# Input


def peer(id: str, hostname: str, **changes: Any) -> KnownPeer:
    known = Peer(id, f"{hostname}.example.org", hostname, "10.0.0.2", 1, 2, available=True)
    return KnownPeer(known, responsive=True, age_ms=300, **changes)


def situation(**changes: Any) -> Situation:
    fields: dict[str, Any] = {
        "now_ms": 5000, "own_id": "aa", "own_hostname": "alpha", "own_name": "alpha.example.org",
        "own_address": "10.0.0.1:8379", "own_errors": 0, "own_report": {"id": "aa"}, "port": 8379,
        "cluster": "default", "dc": "local", "epoch": 12, "round": 7, "parents": (), "actions": {},
        "runtime": Tree({}, ()), "peers": (), "counted": 3, "responsive": 2, "minority_allowed": False,
        "limits": Scheduler(), **changes,
    }  # fmt: skip
    return Situation(**fields)


def test_the_leader_is_among_the_nodes_but_not_among_the_peers() -> None:
    stamp = Stamp(4000, "ff" * 32, "aa")
    document = scheduler_input(situation(peers=[peer("bb", "beta", stamp=stamp, errors=2, report={"id": "bb"})]))
    assert list(document["peers"]) == ["bb"]
    assert document["peers"]["bb"]["addr"] == "10.0.0.2:8379"
    assert document["peers"]["bb"]["schedule"]["hash"] == "ff" * 32
    assert list(document["nodes"]) == ["alpha", "beta"]
    assert (document["nodes"]["alpha"]["self"], document["nodes"]["beta"]["errors"]) == (True, 2)
    assert document["nodes"]["beta"]["report"] == {"id": "bb"}
    assert document["partition"] == {"total": 3, "responsive": 2, "majority": True, "minority_allowed": False}


def test_a_name_that_two_nodes_bear_belongs_to_the_lower_id() -> None:
    document = scheduler_input(situation(peers=[peer("cc", "beta"), peer("bb", "beta"), peer("99", "alpha")]))
    assert document["nodes"]["beta"]["id"] == "bb"
    assert document["nodes"]["alpha"]["id"] == "99"


def test_parents_come_with_where_they_are_from() -> None:
    parent = Envelope(hash="11" * 32, timestamp=1, origin="bb", epoch=3, data={"state": {}})
    document = scheduler_input(situation(parents=[parent], peers=[peer("bb", "beta")]))
    assert document["parents"] == [{"state": {}}]
    assert document["parent_info"] == [{"hash": "11" * 32, "timestamp": 1, "origin": "bb", "epoch": 3, "host": "beta"}]


def test_troubles_of_the_runtime_are_passed_on() -> None:
    runtime = Tree({"site": {"v1": {}}}, (Trouble(kind="JsonParse", path="site/v2.json", message="no"),))
    document = scheduler_input(situation(runtime=runtime))
    assert document["runtime"] == {"site": {"v1": {}}}
    assert document["runtime_err"] == [{"kind": "JsonParse", "path": "site/v2.json", "message": "no"}]
