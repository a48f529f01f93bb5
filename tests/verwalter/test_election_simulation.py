"""Whole clusters under seeded trouble; a failure prints its seed and the end of the history."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import pytest

from manor.config.errors import ConfigError
from manor.verwalter.election.machine import Election, needed_votes
from manor.verwalter.election.messages import Action, Confirm, Persist
from manor.verwalter.election.scenario import ClockJump, Crash, Event, Flap, Heal, Scenario, Split, storm
from manor.verwalter.election.scenario_file import read_scenario
from manor.verwalter.election.simulation import NoSuchNode, Outcome, SimulatedNode, World, run
from manor.verwalter.membership import Rights
from manor.verwalter.schedule import descent, hash_of

SIZE = os.environ.get("MANOR_SIMULATE", "test")
SEEDS = {"test": 12, "few": 200, "full": 10_000}[SIZE]
MINORITY = Rights(minority_allowed=True)


def show(outcome: Outcome) -> str:
    problems = "\n".join(map(str, outcome.problems[:10]))
    return f"{outcome.nodes} nodes, seed {outcome.seed}:\n{problems}\n" + "\n".join(outcome.transcript[-200:])


def weather_the_storm(seed: int) -> Outcome:
    nodes = 3 + seed % 5
    rights = MINORITY if seed // 5 % 2 else Rights()
    return run(nodes, seed, storm(nodes, seed, minutes=10, rights=rights), minutes=10)


@pytest.mark.simulate
@pytest.mark.timeout(3600)
def test_small_clusters_hold_their_promises_in_storms() -> None:
    if SIZE == "test":
        outcomes = [weather_the_storm(seed) for seed in range(SEEDS)]
    else:
        with ProcessPoolExecutor(2) as pool:
            outcomes = list(pool.map(weather_the_storm, range(SEEDS), chunksize=10))
    bad = [outcome for outcome in outcomes if outcome.problems]
    assert not bad, show(bad[0])
    waits_s = [wait_s for outcome in outcomes for wait_s in outcome.settled_s]
    assert waits_s
    assert sum(wait_s > 20 for wait_s in waits_s) <= max(1, len(waits_s) / 100), sorted(waits_s)[-20:]


@pytest.mark.simulate
@pytest.mark.timeout(3600)
def test_a_large_cluster_with_loss_elects_once_and_keeps_its_leader() -> None:
    nodes, minutes, seeds = (
        (60, 2.0, range(1, 2)) if SIZE == "test" else (300, 10.0, range(1, 2 if SIZE == "few" else 21))
    )
    for seed in seeds:
        outcome = run(nodes, seed, Scenario(loss=0.1, delay_s=(0.001, 0.05)), minutes=minutes)
        assert not outcome.problems, show(outcome)
        assert outcome.settled_s and max(outcome.settled_s) <= 20


def test_equal_seeds_give_equal_histories() -> None:
    first, second = (run(5, 7, storm(5, 7, minutes=3), minutes=3) for _ in range(2))
    assert first == second


@pytest.mark.case("verwalter-10")
@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_comes_and_goes_and_jumping_clocks_depose_nobody(seed: int, nodes: int) -> None:
    world = World(nodes, seed, Scenario())
    world.run(30.0)
    (leader,) = world.leaders()
    flapping = 1 + next(number for number, id in enumerate(world.nodes) if id != leader.id)
    events: tuple[Event, ...] = (
        Flap(at_s=30.0, node=f"n{flapping}", every_s=20.0, until_s=330.0),
        ClockJump(at_s=400.0, node="n1", by_s=3600.0),
        ClockJump(at_s=420.0, node="n2", by_s=-3600.0),
    )
    world = World(nodes, seed, Scenario(events=events))
    world.run(600.0)
    assert not world.watch.problems, "\n".join(world.watch.transcript)
    assert [node.id for node in world.leaders()] == [leader.id]
    assert world.nodes[leader.id].election.counts["became_leader"] == 1


def split_off_the_leader(seed: int, rights: Rights, *more: Event) -> tuple[World, str]:
    """Five nodes; at 30 s the leader and one other are cut off. Also the leader's name."""
    world = World(5, seed, Scenario(rights=rights))
    world.run(30.0)
    (leader,) = world.leaders()
    names = [f"n{number}" for number in range(1, 6)]
    leader_name = names[list(world.nodes).index(leader.id)]
    other = next(name for name in names if name != leader_name)
    rest = tuple(name for name in names if name not in (leader_name, other))
    split = Split(at_s=30.0, sides=((leader_name, other), rest))
    return World(5, seed, Scenario(events=(split, *more), rights=rights)), leader_name


@pytest.mark.case("verwalter-05")
@pytest.mark.parametrize("seed", range(5))
def test_a_leader_without_majority_steps_down_and_the_majority_elects(seed: int) -> None:
    world, leader = split_off_the_leader(seed, Rights())
    world.run(39.0)
    assert world.nodes[world._id(leader)] not in world.leaders()
    world.clock.run_until(60.0)
    assert [world.sides[node.id] for node in world.leaders()] == [2]
    assert not world.watch.problems


@pytest.mark.case("verwalter-06")
@pytest.mark.parametrize("seed", range(5))
def test_where_minorities_may_both_sides_lead(seed: int) -> None:
    world, _ = split_off_the_leader(seed, MINORITY)
    world.run(30.0 + 75.0 + 20.0)
    small, large = sorted(world.leaders(), key=lambda node: world.sides[node.id])
    assert [world.sides[node.id] for node in (small, large)] == [1, 2]
    majority = {
        node.id: 1 + len(node.membership.responsive) >= needed_votes(1 + len(node.membership.known))
        for node in (small, large)
    }
    assert majority == {small.id: False, large.id: True}


@pytest.mark.case("verwalter-07")
@pytest.mark.parametrize("seed", range(5))
def test_after_the_cut_one_leader_has_both_schedules_as_parents(seed: int) -> None:
    healed_at = 30.0 + 75.0 + 40.0
    world, _ = split_off_the_leader(seed, MINORITY, Heal(at_s=healed_at))
    world.clock.at(healed_at - 1.0, lambda: each_side_learns_something(world))
    facts: list[set[str]] = []
    world.clock.at(healed_at - 0.01, lambda: facts.extend(facts_of(node) for node in world.leaders()))
    world.run(healed_at + 30.0)
    (leader,) = world.leaders()
    assert len(facts) == 2
    assert facts[0] != facts[1]
    assert facts[0] | facts[1] <= facts_of(leader), "\n".join(world.watch.transcript)
    assert not world.watch.problems


def each_side_learns_something(world: World) -> None:
    """As if an action had been pushed on each side: the next schedule holds a fact of its own."""
    for node in world.leaders():
        data = {"facts": sorted({*facts_of(node), world.new_fact(node.id)})}
        owned = node.transport.owned
        assert owned is not None
        changed = msgspec.structs.replace(
            owned, data=data, hash=hash_of(data), ancestors=descent([owned]), timestamp=owned.timestamp + 1
        )
        node._carry(node.transport.published(changed))


def facts_of(node: SimulatedNode) -> set[str]:
    return set(node.transport.owned.data["facts"]) if node.transport.owned is not None else set()


@pytest.mark.case("verwalter-08")
def test_one_node_of_three_leads_alone_where_it_may() -> None:
    scenario = Scenario(events=(Split(at_s=30.0, sides=(("n1",), ("n2", "n3"))),), rights=MINORITY)
    world = World(3, 1, scenario)
    world.run(30.0 + 75.0 + 20.0)
    assert 1 in {world.sides[node.id] for node in world.leaders()}


def test_a_scenario_file_is_read_with_the_place_of_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "- {at: 30s, split: [[n1, n2], [n3]]}\n- {at: 1m, heal: true}\n- {at: 70s, cut: [n1, n2, oneway]}\n"
        "- {at: 80s, loss: 0.1}\n- {at: 80s, delay: 1ms..50ms}\n- {at: 90s, crash: [n1]}\n- {at: 95s, restart: [n1]}\n"
        "- {at: 100s, clock: {n1: +1h}}\n- {at: 110s, stall: {n1: 5s}}\n- {at: 120s, stale: {n1: 20s}}\n"
        "- {at: 150s, flap: {n1: 20s}}\n"
    )
    scenario = read_scenario(file)
    assert [type(event).__name__ for event in scenario.events] == [
        "Split", "Heal", "Cut", "Loss", "Delay", "Crash", "Restart", "ClockJump", "Stall", "Stale", "Flap"
    ]  # fmt: skip
    assert run(3, 1, scenario, minutes=3).nodes == 3
    with pytest.raises(NoSuchNode, match="`n3` of the scenario"):
        run(2, 1, scenario, minutes=3)
    file.write_text("- {at: 30, heal: true}\n- {at: 30s, crash: [alpha]}\n- {at: 1s}\n- {at: 1s, loss: 2}\n")
    with pytest.raises(ConfigError) as refused:
        read_scenario(file)
    places = [str(problem.at).removeprefix(f"{file}:") for problem in refused.value.problems]
    assert places == ["1:8", "2:21", "3:3", "4:18"], refused.value


@pytest.mark.case("verwalter-02", "verwalter-03")
def test_three_nodes_elect_within_twenty_seconds_and_replace_a_dead_leader_within_six() -> None:
    for seed in range(10):
        world = World(3, seed, Scenario())
        world.run(20.0)
        (leader,) = world.leaders()
        assert all(node.election.leader == leader.id for node in world.living())
        number = 1 + list(world.nodes).index(leader.id)
        world = World(3, seed, Scenario(events=(Crash(at_s=30.0, nodes=(f"n{number}",)),)))
        world.run(36.0)
        assert len(world.leaders()) == 1


def test_the_watch_notices_a_node_that_votes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def vote_for_all(self: Election, heard: object, reason: str) -> list[Action]:
        self.epoch, self.voted_for = heard.message.epoch, heard.message.target  # type: ignore[attr-defined]
        return [Persist(self.epoch, self.voted_for), Confirm(self.epoch, self.voted_for)]

    from manor.verwalter.election import machine

    rows = {
        key: tuple(
            machine.Row(row.number, row.kind, row.epoch, machine._any, vote_for_all, row.counter)
            if row.kind is machine.Vote
            else row
            for row in rows
        )
        for key, rows in machine._ROWS.items()
    }
    monkeypatch.setattr(machine, "_ROWS", rows)
    problems = [
        problem for seed in range(10) for problem in run(5, seed, storm(5, seed, minutes=3), minutes=3).problems
    ]
    assert any(problem.invariant == "I2" for problem in problems)
