"""Whole clusters under seeded trouble; a failure prints its seed and the end of the history."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from manor.verwalter.election.machine import Election
from manor.verwalter.election.messages import Action, Confirm, Persist
from manor.verwalter.election.scenario import ClockJump, Crash, Event, Flap, Heal, Scenario, Split, storm
from manor.verwalter.election.simulation import Outcome, World, run
from manor.verwalter.membership import Rights

SIZE = os.environ.get("MANOR_SIMULATE", "test")
SEEDS = {"test": 12, "few": 400, "full": 10_000}[SIZE]
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


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_comes_and_goes_deposes_nobody(seed: int) -> None:
    world = World(5, seed, Scenario())
    world.run(30.0)
    (leader,) = world.leaders()
    flapping = 1 + next(number for number, id in enumerate(world.nodes) if id != leader.id)
    events: tuple[Event, ...] = (
        Flap(at_s=30.0, node=f"n{flapping}", every_s=20.0, until_s=330.0),
        ClockJump(at_s=400.0, node="n1", by_s=3600.0),
        ClockJump(at_s=420.0, node="n2", by_s=-3600.0),
    )
    outcome = run(5, seed, Scenario(events=events), minutes=10)
    assert not outcome.problems, show(outcome)
    assert outcome.leader_changes == 0
    assert sum("leads in epoch" in line for line in outcome.transcript) == 1, show(outcome)


@pytest.mark.parametrize("minority_allowed", [False, True])
def test_a_minority_leads_only_where_it_may(minority_allowed: bool) -> None:
    scenario = Scenario(
        events=(Split(at_s=30.0, sides=(("n1", "n2"), ("n3", "n4", "n5"))),),
        rights=Rights(minority_allowed=minority_allowed),
    )
    world = World(5, 3, scenario)
    world.run(30.0 + 75.0 + 20.0 + 10.0)
    sides = [{world.sides[leader.id]} for leader in world.leaders()]
    assert sorted(map(min, sides)) == ([1, 2] if minority_allowed else [2])
    assert not world.watch.problems


def test_a_healed_partition_has_one_leader_again() -> None:
    scenario = Scenario(
        events=(Split(at_s=30.0, sides=(("n1", "n2"), ("n3", "n4", "n5"))), Heal(at_s=200.0)), rights=MINORITY
    )
    outcome = run(5, 4, scenario, minutes=5)
    assert not outcome.problems, show(outcome)


def test_a_dead_leader_is_replaced_within_six_seconds() -> None:
    for seed in range(10):
        world = World(3, seed, Scenario())
        world.run(30.0)
        (leader,) = world.leaders()
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
