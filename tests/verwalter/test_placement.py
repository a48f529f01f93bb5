"""Placement with its queue of nodes gives what looking at every node for every instance gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manor.verwalter.scheduler.declaration import Daemon, Placement
from manor.verwalter.scheduler.nodes import Liveness, Node
from manor.verwalter.scheduler.placement import Budget, Room, place, tie_value


def node(host: str, zone: str, slots: int) -> Node:
    return Node(host, Liveness.ALIVE, True, {"zone": zone}, {"slots": slots}, {}, {})


NODES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=12).map(
    lambda facts: {f"n{number}": node(f"n{number}", zone, slots) for number, (zone, slots) in enumerate(facts)}
)
SPREADS = st.sampled_from([("host",), ("zone",), ("zone", "host"), ("host", "zone")])


def obviously(nodes: dict[str, Node], spread: tuple[str, ...], wanted: int, cap: int | None) -> dict[str, int]:
    counts = dict.fromkeys(nodes, 0)

    def key(host: str) -> tuple[Any, ...]:
        zone = sum(count for other, count in counts.items() if nodes[other].labels == nodes[host].labels)
        by_label = {"host": counts[host], "zone": zone}
        slots = nodes[host].capacity["slots"]
        return (
            *(by_label[label] for label in spread),
            counts[host] / slots if slots else 0.0,
            tie_value("r", "d", host),
        )

    for _ in range(wanted):
        open_nodes = [
            host for host in nodes
            if counts[host] < nodes[host].capacity["slots"] and (cap is None or counts[host] < cap)
        ]  # fmt: skip
        if open_nodes:
            counts[min(open_nodes, key=key)] += 1
    return {host: count for host, count in counts.items() if count}


@given(NODES, SPREADS, st.integers(0, 40), st.none() | st.integers(1, 4))
def test_the_queue_places_as_the_obvious_way_does(
    nodes: dict[str, Node], spread: tuple[str, ...], wanted: int, cap: int | None
) -> None:
    daemon = Daemon(placement=Placement(spread=spread, max_per_node=cap))
    placed = place("r", "d", daemon, {"a": wanted}, {}, nodes, Room(nodes), {"slots": 1}, Budget())
    expected = obviously(nodes, spread, wanted, cap)
    assert placed.slots["a"] == expected
    assert placed.unplaced == wanted - sum(expected.values())
