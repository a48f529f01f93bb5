from __future__ import annotations

import random

from manor.simulation.network import Clock, Network, Weather


def history(seed: int, weather: Weather) -> list[tuple[float, str, int]]:
    clock = Clock()
    network: Network[str] = Network(clock, random.Random(seed), weather)
    seen: list[tuple[float, str, int]] = []
    for name in "ab":
        network.attach(name, lambda message, source: seen.append((clock.now, source, message)))
    for number in range(200):
        clock.at(number * 0.01, lambda number=number: network.send("a", "b", number))
    clock.run_until(10.0)
    return seen


def test_equal_seeds_give_equal_histories_and_other_seeds_others() -> None:
    stormy = Weather(delay_s=(0.0, 1.0), loss=0.2, duplication=0.2)
    assert history(1, stormy) == history(1, stormy)
    assert history(1, stormy) != history(2, stormy)


def test_a_calm_network_delivers_everything_once_in_order_after_its_delay() -> None:
    seen = history(1, Weather(delay_s=(0.5, 0.5)))
    assert [message for _, _, message in seen] == list(range(200))
    assert abs(seen[0][0] - 0.5) < 1e-9


def test_loss_and_duplication_happen_about_as_often_as_asked() -> None:
    assert 130 <= len(history(3, Weather(loss=0.2))) <= 190
    assert 210 <= len(history(3, Weather(duplication=0.2))) <= 270


def test_a_partition_loses_packets_even_those_under_way() -> None:
    clock = Clock()
    network: Network[str] = Network(clock, random.Random(1), Weather(delay_s=(1.0, 1.0)))
    seen: list[int] = []
    network.attach("b", lambda message, source: seen.append(message))
    network.send("a", "b", 1)
    network.split(["a"], ["b"])
    network.send("a", "b", 2)
    clock.run_until(2.0)
    assert seen == []
    network.heal()
    network.send("a", "b", 3)
    clock.run_until(4.0)
    assert seen == [3]


def test_a_one_way_cut_leaves_the_other_direction_alone() -> None:
    clock = Clock()
    network: Network[str] = Network(clock, random.Random(1))
    seen: list[str] = []
    for name in "ab":
        network.attach(name, lambda message, source: seen.append(source))
    network.cut("a", "b")
    network.send("a", "b", 0)
    network.send("b", "a", 0)
    clock.run_until(1.0)
    assert seen == ["b"]
    network.mend("a", "b")
    network.send("a", "b", 0)
    clock.run_until(2.0)
    assert seen == ["b", "a"]
