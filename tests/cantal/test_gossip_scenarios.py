"""The fifteen scenarios gossip must survive, each a cluster on a virtual clock with a seeded network.

Plain test runs use fewer nodes and minutes; `make simulate` plays them in full.
"""

from __future__ import annotations

import random
import sys

import pytest
from gossip_world import EPOCH_MS, World, address_of, seeds, size

from manor.cantal.gossip.codec import Codec
from manor.cantal.gossip.members import BYTES_A_MEMBER_MAX
from manor.cantal.gossip.messages import Direction, MemberChanged, Record, State
from manor.simulation.network import Weather
from manor.trust.keys import ClusterKeys

pytestmark = [pytest.mark.case("cantal-46"), pytest.mark.simulate, pytest.mark.timeout(1800)]


def test_s1_ten_nodes_and_one_known_address() -> None:
    world = World(seed=1)
    for number in range(10):
        world.start(number)
    for number in range(1, 10):
        world.nodes[number].add_host(0)
    world.run_until(world.all_know_all, within=5)


def test_s2_all_are_given_one_seed_at_once() -> None:
    world = World(seed=2)
    nodes = size(1000, 150)
    for number in range(nodes):
        world.start(number)
    for number in range(1, nodes):
        world.nodes[number].add_host(0)
    world.run_until(world.all_know_all, within=60)


def test_s3_one_in_a_hundred_dies_at_once() -> None:
    world = World(seed=3)
    nodes, victims = size(10_000, 250), size(100, 3)
    world.keep_log = False
    world.start_converged(nodes)
    world.run(3)
    dead = [world.kill(number).id for number in range(victims)]
    world.run(40)
    for member in dead:
        assert world.holders(member, State.DEAD) >= 0.999 * len(world.nodes)
    world.run_until(lambda: all(map(world.dead_everywhere, dead)), within=20)
    assert world.wrongly_dead == []


def test_s4_five_percent_of_all_packets_are_lost() -> None:
    world = World(seed=4, weather=Weather(loss=0.05))
    world.keep_log = False
    world.start_converged_apart(size(1000, 100))
    world.run(size(600, 60))
    assert world.wrongly_dead == []


def test_s5_a_cluster_cut_in_two_and_healed() -> None:
    world = World(seed=5)
    nodes = size(1000, 100)
    larger = range(nodes * 6 // 10)
    smaller = range(len(larger), nodes)
    world.start_converged_apart(nodes)
    world.run(5)

    world.network.split([address_of(n) for n in larger], [address_of(n) for n in smaller])

    def apart() -> bool:
        return all(
            world.nodes[one].state_of(world.id_of(other)) is State.DEAD
            for side, far in ((larger, smaller), (smaller, larger))
            for one in side
            for other in far
        )

    world.run_until(apart, within=60)
    world.run(max(0.0, 5 + size(300, 60) - world.clock.now))
    assert apart()

    world.network.heal()
    world.run_until(world.all_know_all, within=60)


def test_s6_a_link_that_fails_one_way_is_shown_and_nobody_dies_of_it() -> None:
    world = World(seed=6)
    nodes = size(50, 20)
    world.start_converged_apart(nodes)
    world.run(5)
    a, b, third = world.nodes[0], world.nodes[1], world.nodes[2]

    def shown() -> set[tuple[bytes, bytes, Direction]]:
        return {(link.observer, link.target, link.direction) for link in third.core.links(world.clock.now)}

    world.network.cut(a.address, b.address)
    world.run_until(lambda: (a.id, b.id, Direction.REQUEST_LOST) in shown(), within=60)
    world.run(size(300, 90))
    assert shown() == {(a.id, b.id, Direction.REQUEST_LOST), (b.id, a.id, Direction.REPLY_LOST)}

    world.network.mend(a.address, b.address)
    world.run_until(lambda: not shown(), within=120)
    assert not [action for _, _, action in world.log if isinstance(action, MemberChanged)]


def test_s7_a_node_that_often_stands_still() -> None:
    world = World(seed=7)
    world.start_converged_apart(size(100, 40))
    world.run(5)
    frozen = world.nodes[0]
    for _ in range(size(10, 3)):
        frozen.freeze()
        world.run(3)
        frozen.thaw()
        world.run(27)
        assert frozen.core.health <= 4
    assert world.wrongly_dead == []
    assert frozen.core.counts.suspicions_raised <= 10

    frozen.freeze()
    world.run(60)
    assert world.holders(frozen.id, State.DEAD) == len(world.nodes) - 1
    frozen.thaw()
    world.run_until(lambda: world.holders(frozen.id, State.ALIVE) == len(world.nodes) - 1, within=5)
    assert {member for _, _, member in world.wrongly_dead} == {frozen.id}


def test_s8_a_quick_restart_goes_unnoticed_but_for_the_incarnation() -> None:
    world = World(seed=8)
    nodes = size(50, 30)
    world.start_converged_apart(nodes)
    world.run(5)

    old = world.kill(0)
    world.run(2.5)
    new = world.start(0)
    new.add_host(1)

    def known() -> bool:
        others = [node.core.members for node in world.nodes.values() if node is not new]
        return all(table.ranks[table.directory.slots[old.id]] >> 3 == new.core.record.incarnation for table in others)

    world.run_until(known, within=10)
    world.run_until(world.all_know_all, within=10)
    assert world.wrongly_dead == []


@pytest.mark.parametrize("what", ["names", "keys"])
def test_s9_two_clusters_on_one_network_never_meet(what: str) -> None:
    """Through real datagrams here, since keys live in the codec."""
    world = World(seed=9)
    codecs = [Codec(ClusterKeys.parse(f"{number:064x}", "key").purpose("gossip")) for number in (1, 2)]
    refused = []
    nodes = 10
    for number in range(nodes):
        cluster, codec = "test", codecs[0]
        if what == "names":
            cluster = f"cluster-{number % 2}"
        else:
            codec = codecs[number % 2]
        node = world.start(number, cluster=cluster)

        def receive(datagram: bytes, source: str, node: object = node, codec: Codec = codec) -> None:
            packet = codec.decode(datagram)
            if packet.__class__.__name__ != "Packet":
                refused.append(packet)
            else:
                node.receive(packet, source)  # type: ignore[attr-defined]

        world.network.attach(node.address, receive)
        world.network.codecs = getattr(world.network, "codecs", {})  # type: ignore[attr-defined]
        world.network.codecs[node.address] = codec  # type: ignore[attr-defined]
    plain_send = world.network.send
    world.network.send = lambda source, target, packet: plain_send(  # type: ignore[method-assign]
        source,
        target,
        world.network.codecs[source].encode(packet),  # type: ignore[attr-defined]
    )
    for number in range(1, nodes):
        world.nodes[number].add_host(0)
        world.nodes[number].add_host(number % 2)
    world.run(20)

    for number, node in world.nodes.items():
        expected = {world.id_of(other) for other in range(number % 2, nodes, 2)} - {node.id}
        assert set(node.view()) == expected
        assert set(node.view().values()) == {State.ALIVE}
    if what == "names":
        assert sum(node.core.counts.foreign_cluster for node in world.nodes.values()) > 0
    else:
        assert refused


def test_s10_packets_that_come_twice_late_and_out_of_order() -> None:
    world = World(seed=10, weather=Weather(delay_s=(0.0, 1.0), duplication=0.1))
    world.keep_log = False
    world.start_converged_apart(size(100, 50))
    world.run(size(600, 60))
    assert world.wrongly_dead == []


def test_s11_a_quiet_cluster_costs_little() -> None:
    world = World(seed=11)
    nodes = size(1000, 100)
    world.start_converged_apart(nodes)
    world.run(60)  # until reports are known and packets have their usual size
    codec, sent, sizes = Codec(None), world.network.sent, []
    plain_send, rng = world.network.send, random.Random(11)

    def measured_send(source: str, target: str, packet: object) -> None:
        if rng.random() < 0.02:
            sizes.append(len(codec.encode(packet)))  # type: ignore[arg-type]
        plain_send(source, target, packet)

    world.network.send = measured_send  # type: ignore[method-assign]
    seconds = size(60, 30)
    world.run(seconds)
    packets_a_second = (world.network.sent - sent) / nodes / seconds
    assert packets_a_second <= 15
    assert packets_a_second * sum(sizes) / len(sizes) < 10 * 1024

    members = world.nodes[0].core.members
    columns = (members.ranks, members.since, members.known_since, members.records, members.ids, members.ring)
    assert sum(map(sys.getsizeof, columns)) + sys.getsizeof(members.buckets) <= (
        BYTES_A_MEMBER_MAX * nodes + 2048  # room to grow at the end of the lists, the same for any size
    )


def test_s12_a_cluster_that_was_switched_off_finds_itself() -> None:
    world = World(seed=12)
    nodes = 20
    world.start_converged_apart(nodes)
    world.run(10)
    known = [node.core.record for node in world.nodes.values()]
    for number in range(nodes):
        world.kill(number)
    world.run(60)

    order = list(range(nodes))
    world.rng.shuffle(order)
    pause = size(600, 120) / (nodes - 1)
    for number in order:
        node = world.start(number)
        others = [record for record in known if record.id != node.id]
        node.core.restore(others, [address for record in others for address in record.addresses], world.clock.now)
        node.schedule()
        if number != order[-1]:
            world.run(pause)
    world.run_until(world.all_know_all, within=60)


def test_s13_one_of_three_dies() -> None:
    for seed in seeds(100, 20, 10):
        world = World(seed=seed)
        world.start_converged_apart(3)
        world.run(5 + seed * 0.1)
        dead = world.kill(0).id
        world.run_until(lambda world=world, dead=dead: world.dead_everywhere(dead), within=10, step=0.1)  # type: ignore[misc]


def test_s14_one_of_a_thousand_dies_and_all_know_within_ten_seconds() -> None:
    for seed in seeds(20, 5, 2):
        world = World(seed=seed)
        world.keep_log = False
        world.start_converged_apart(size(1000, 150))
        world.run(3)
        dead = world.kill(seed).id
        world.run_until(lambda world=world, dead=dead: world.dead_everywhere(dead), within=10, step=0.1)  # type: ignore[misc]
        assert world.wrongly_dead == []


def test_s15_one_more_joins_a_thousand() -> None:
    world = World(seed=15)
    nodes = size(1000, 200)
    world.start_converged_apart(nodes)
    world.run(3)
    new = world.start(nodes)
    new.add_host(17)
    world.run_until(
        lambda: (
            world.holders(new.id, State.ALIVE) == nodes
            and sum(state is State.ALIVE for state in new.view().values()) == nodes
        ),
        within=10,
    )


def test_equal_seeds_give_equal_logs() -> None:
    def history() -> list[object]:
        world = World(seed=16, weather=Weather(delay_s=(0.001, 0.3), loss=0.1, duplication=0.1))
        for number in range(20):
            world.start(number)
        for number in range(1, 20):
            world.nodes[number].add_host(number - 1)
        world.run(10)
        world.kill(3)
        world.network.cut(address_of(1), address_of(2))
        world.run(20)
        return [*world.log, world.network.sent, world.network.delivered]

    first = history()
    assert len(first) > 300
    assert first == history()


def test_a_record_from_the_far_future_is_refused() -> None:
    world = World(seed=17)
    for number in range(2):
        world.start(number)
    future: Record = world.record_of(5, incarnation=EPOCH_MS + 11 * 365 * 86_400_000)
    world.start(5, record=future)
    world.nodes[5].add_host(0)
    world.run(5)
    assert world.nodes[0].view() == {}
    assert world.nodes[0].core.counts.refused > 0
