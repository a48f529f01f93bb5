"""The arithmetic of the declarative scheduler, by the worked examples of its documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.verwalter.scheduler.declaration import Update
from manor.verwalter.scheduler.nodes import Liveness, Node, holds
from manor.verwalter.scheduler.placement import spread_share
from manor.verwalter.scheduler.updates import approach, goals
from manor.verwalter.scheduler.versions import order_key


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("v2", "v10"), ("v1", "v1.0"), ("v0.9.4-dirty", "v0.9.4-10-g93e889d-dirty"), ("v1.a", "v1.1"), ("v1.9", "v1.10")],
)
def test_versions_are_ordered_run_by_run(lower: str, higher: str) -> None:
    assert order_key(lower) < order_key(higher)


def test_seven_instances_on_each_of_three_nodes_are_shared_out() -> None:
    hosts = ["a", "b", "c"]
    assert list(spread_share(7, hosts, 70, 0)[0].values()) == [5, 5, 4]
    assert list(spread_share(7, hosts, 30, 0)[0].values()) == [2, 2, 2]
    assert list(spread_share(7, hosts, 70, 2)[0].values()) == [5, 4, 5]


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 100), st.integers(0, 100))
def test_shares_add_up(per_node: int, nodes: int, percent: int, seed: int) -> None:
    target, source = spread_share(per_node, [f"n{n}" for n in range(nodes)], percent, seed)
    assert all(target[host] + source[host] == per_node and target[host] >= 0 for host in target)
    assert sum(target.values()) == per_node * nodes * percent // 100


def test_the_way_to_two_of_ten_adds_before_it_takes_away() -> None:
    settings = Update(max_surge=1, max_unavailable=0)
    assert goals(10, 20) == (2, 8)
    assert approach(0, 10, 2, 8, 10, 0, settings) == (1, 10)
    assert approach(1, 10, 2, 8, 10, 1, settings) == (2, 9)
    assert approach(2, 9, 2, 8, 10, 2, settings) == (2, 8)


@given(st.integers(1, 40), st.integers(0, 100), st.integers(0, 5), st.integers(0, 5))
def test_the_way_never_leaves_its_bounds_and_arrives(wanted: int, percent: int, surge: int, unavailable: int) -> None:
    settings = Update(max_surge=surge, max_unavailable=unavailable)
    goal_up, goal_down = goals(wanted, percent)
    up, down = 0, wanted
    for _ in range(4 * wanted + 4):
        up, down = approach(up, down, goal_up, goal_down, wanted, up, settings)
        assert up + down <= wanted + surge
        assert up + down >= wanted - max(unavailable, 1 if surge == 0 else 0)
    assert (up, down) == (goal_up, goal_down)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("ssd", True), ("!ssd", False), ("gpu", False), ("!gpu", True), ("zone=a", True), ("zone=b", False),
     ("host~web-*", True), ("host~db-*", False), ("off", False), ("!zone=b", True)],
)  # fmt: skip
def test_expressions_over_labels(expression: str, expected: bool) -> None:
    labels = {"ssd": "true", "zone": "a", "off": "false"}
    node = Node("web-1", Liveness.ALIVE, True, labels, {}, {}, {})
    assert holds(expression, node) is expected
