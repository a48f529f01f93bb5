"""A thousand nodes of the real gossip core on a virtual clock: what each sends, and how soon all know of a death.

No peer can be asked the same question in a minute on one machine, so the traffic stands beside the budget that cantal
has for it. Packet sizes are those of the real codec, sealed, taken from every fiftieth packet.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Iterable
from functools import partial

from gossip_world import World

from benchmarks.measure import Row, Size, seconds
from manor.cantal.gossip.codec import Codec
from manor.cantal.gossip.messages import State
from manor.trust.keys import ClusterKeys, generate_key

BUDGET_PACKETS = 15.0  # a second and node, as the budgets of cantal say
BUDGET_BYTES = 10 * 1024.0
SETTLED_AFTER_S = 15  # reports are known by then, and packets have their usual size
MEASURED_S = 10
MEASURED_SHARE = 0.02


def run(size: Size) -> Iterable[Row]:
    nodes, deaths = (1000, 3) if size is Size.FULL else (60, 1)
    collecting = gc.isenabled()
    try:
        yield from steady_traffic(nodes)
        yield from known_deaths(nodes, deaths)
    finally:
        if collecting:  # which the world switches off
            gc.enable()


def steady_traffic(nodes: int) -> Iterable[Row]:
    world = World(seed=1)
    world.keep_log = False
    world.start_converged_apart(nodes)
    world.run(SETTLED_AFTER_S)
    codec, rng = Codec(ClusterKeys.parse(generate_key(), "cluster.key").purpose("gossip")), random.Random(1)
    before, send, sizes = world.network.sent, world.network.send, []

    def measured_send(source: str, target: str, packet: object) -> None:
        if rng.random() < MEASURED_SHARE:
            sizes.append(len(codec.encode(packet)))
        send(source, target, packet)

    world.network.send = measured_send
    took_s = seconds(lambda: world.run(MEASURED_S))
    packets = (world.network.sent - before) / nodes / MEASURED_S
    made_of = f"{nodes} nodes, {statistics.mean(sizes):.0f} bytes a packet"
    yield Row("sent by a node, quiet cluster", packets, "packets/s", "the budget", BUDGET_PACKETS, made_of)
    yield Row("sent by a node, quiet cluster", packets * statistics.mean(sizes), "bytes/s", "the budget", BUDGET_BYTES)
    share = 100 * took_s / MEASURED_S / nodes
    yield Row("CPU time of a node's core, the simulation included", share, "% of one")


def known_deaths(nodes: int, deaths: int) -> Iterable[Row]:
    """Every death in a world of its own: two at a time would share the work of spreading."""
    suspected, first, last = [], [], []
    for seed in range(deaths):
        world = World(seed)
        world.keep_log = False
        world.start_converged_apart(nodes)
        world.run(3)
        dead, died_at = world.kill(seed).id, world.clock.now
        for state, seen in ((State.SUSPECT, suspected), (State.DEAD, first)):
            world.run_until(partial(anybody_holds, world, dead, state), within=60, step=0.1)
            seen.append(world.clock.now - died_at)
        world.run_until(partial(world.dead_everywhere, dead), within=60, step=0.1)
        last.append(world.clock.now - died_at)
    yield Row("from a death until the first suspects it", statistics.median(suspected), "s")
    yield Row("from a death until the first is sure", statistics.median(first), "s")
    made_of = f"{nodes} nodes, median of {deaths}, slowest {max(last):.1f} s"
    yield Row("from a death until all know", statistics.median(last), "s", note=made_of)


def anybody_holds(world: World, member: bytes, state: State) -> bool:
    return world.holders(member, state) > 0
