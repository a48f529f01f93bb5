"""The pusher's decisions, without a node, a network or a clock."""

import random

import pytest

from manor.delivery.push_plan import (
    BUSY,
    OVER,
    Action,
    Ask,
    Due,
    Had,
    PushPlan,
    Send,
    Sent,
    Started,
    State,
    Stopped,
    Verify,
    Wait,
    Wanted,
    Why,
)


def plan(*names: str, parallel: int = 8, wait: Wait = Wait.ALL, ends_at: float = 1000.0) -> PushPlan:
    return PushPlan(names, parallel, wait, ends_at)


def states(pushing: PushPlan) -> list[State]:
    return [node.state for node in pushing.nodes.values()]


def test_a_node_is_asked_sent_to_and_told_to_verify() -> None:
    pushing = plan("a")
    assert pushing.tick(0.0) == [Ask("a")]
    assert pushing.receive("a", Wanted("/images/.tmp.x", None), 1.0) == [Send("a", "/images/.tmp.x", None)]
    assert pushing.receive("a", Sent(), 2.0) == [Verify("a")]
    assert not pushing.is_over
    assert pushing.receive("a", Had(), 3.0) == []
    assert pushing.is_over and pushing.exit_status == 0


def test_a_node_that_has_it_is_ready_at_once() -> None:
    pushing = plan("a")
    pushing.tick(0.0)
    assert pushing.receive("a", Had(), 0.1) == []
    assert pushing.is_over


def test_only_so_many_nodes_are_busy_at_a_time_and_the_next_follows_at_once() -> None:
    pushing = plan("a", "b", "c", parallel=2)
    assert pushing.tick(0.0) == [Ask("a"), Ask("b")]
    assert pushing.receive("b", Had(), 1.0) == [Ask("c")]


def test_trouble_is_tried_again_three_times_five_seconds_apart() -> None:
    pushing = plan("a")
    pushing.tick(0.0)
    now = 0.0
    for _ in range(3):
        assert pushing.receive("a", Stopped(Why.TROUBLE, "broken pipe"), now) == []
        assert states(pushing) == [State.PAUSED]
        assert pushing.tick(now + 4.9) == []
        now += 5.0
        assert pushing.tick(now) == [Ask("a")]
    pushing.receive("a", Stopped(Why.TROUBLE, "broken pipe"), now)
    assert pushing.is_over and pushing.exit_status == 1
    assert pushing.nodes["a"].error == "broken pipe"


def test_a_node_that_never_answered_is_given_up_but_one_that_restarts_is_waited_for() -> None:
    pushing = plan("never", "restarts")
    pushing.tick(0.0)
    pushing.receive("restarts", Wanted("/s", None), 0.0)
    pushing.receive("restarts", Stopped(Why.TROUBLE, "rsync: connection closed"), 0.0)
    pushing.receive("never", Stopped(Why.UNREACHABLE, "refused"), 0.0)
    for now in range(5, 500, 5):
        for action in pushing.tick(float(now)):
            pushing.receive(action.node, Stopped(Why.UNREACHABLE, "refused"), float(now))
    assert states(pushing) == [State.FAILED, State.PAUSED]
    assert pushing.tick(500.0) == [Ask("restarts")]
    pushing.receive("restarts", Had(), 501.0)
    assert pushing.is_over and pushing.exit_status == 1


@pytest.mark.parametrize(
    ("whys", "status"),
    [
        ([None, None], 0),
        ([None, Why.TAKEN], 8),
        ([Why.UNAUTHORISED, Why.TAKEN], 8),
        ([None, Why.UNAUTHORISED], 5),
        ([Why.REFUSED, None], 1),
        ([Why.UNREACHABLE, None], 1),
        ([Why.UNREACHABLE, Why.UNREACHABLE], 3),
    ],
)
def test_the_exit_status_is_the_gravest_that_happened(whys: list[Why | None], status: int) -> None:
    pushing = plan("a", "b")
    pushing.tick(0.0)
    for name, why in zip("ab", whys, strict=True):
        now = 0.0
        while pushing.nodes[name].state not in OVER:
            pushing.receive(name, Had() if why is None else Stopped(why, "reason"), now)
            now += 5.0
            pushing.tick(now)
    assert pushing.exit_status == status


def test_what_a_node_refuses_is_not_tried_again() -> None:
    pushing = plan("a")
    pushing.tick(0.0)
    pushing.receive("a", Stopped(Why.REFUSED, "no sandbox `site`"), 0.0)
    assert pushing.is_over
    assert pushing.tick(100.0) == []


def test_when_time_is_over_what_is_not_ready_has_failed_and_late_news_changes_nothing() -> None:
    pushing = plan("a", "b", parallel=1, ends_at=60.0)
    pushing.tick(0.0)
    pushing.receive("a", Wanted("/s", None), 1.0)
    assert pushing.tick(60.0) == []
    assert states(pushing) == [State.FAILED, State.FAILED]
    assert pushing.nodes["a"].error == "time is over"
    assert pushing.receive("a", Sent(), 61.0) == []
    assert pushing.is_over and pushing.exit_status == 1


def test_a_majority_is_enough_where_it_is_all_that_is_waited_for() -> None:
    pushing = plan("a", "b", "c", wait=Wait.MAJORITY)
    pushing.tick(0.0)
    pushing.receive("a", Had(), 1.0)
    assert not pushing.is_over
    pushing.receive("b", Had(), 1.0)
    assert pushing.is_over and pushing.exit_status == 0


def test_what_cannot_happen_now_is_a_bug_that_names_state_and_event() -> None:
    pushing = plan("a")
    pushing.tick(0.0)
    with pytest.raises(AssertionError, match=r"a is asking: Sent\(\) cannot happen now"):
        pushing.receive("a", Sent(), 0.0)


@pytest.mark.parametrize("seed", range(200))
def test_every_push_ends_and_never_has_too_many_at_once(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"n{number}" for number in range(rng.randint(1, 12))]
    pushing = plan(*names, parallel=rng.randint(1, 4), ends_at=600.0)
    under_way: list[Action] = list(pushing.tick(0.0))
    now = 0.0
    while not pushing.is_over:
        now += rng.uniform(0.0, 3.0)
        if under_way and rng.random() < 0.7:
            action = under_way.pop(rng.randrange(len(under_way)))
            good = {Ask: Wanted("/s", None), Send: Sent(), Verify: Had()}[type(action)]
            event = good if rng.random() < 0.7 else Stopped(rng.choice(list(Why)), "reason")
            under_way += pushing.receive(action.node, event, now)
        else:
            under_way += pushing.tick(now)
        assert sum(state in BUSY for state in states(pushing)) <= pushing.parallel
        assert now < 700.0
    assert set(states(pushing)) <= set(OVER)


def test_the_table_has_a_way_out_of_every_state_that_is_not_the_end() -> None:
    from manor.delivery.push_plan import TRANSITIONS

    assert set(TRANSITIONS) == set(State) - set(OVER)
    assert {Started, Wanted, Sent, Had, Stopped, Due} == {event for row in TRANSITIONS.values() for event in row}
