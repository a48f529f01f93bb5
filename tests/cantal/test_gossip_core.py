"""One node's rules, packet by packet."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.messages import (
    STATE_MASK,
    Action,
    Body,
    DuplicateId,
    Entry,
    HostAnswered,
    HostSilent,
    IndirectPong,
    Leave,
    MemberChanged,
    Nack,
    News,
    Packet,
    Ping,
    PingReq,
    Pong,
    Record,
    Report,
    Send,
    State,
    Update,
    incarnation_of,
    rank_of,
)
from manor.cantal.gossip.news import NewsQueue
from manor.cantal.gossip.numbers import DEFAULTS
from manor.cantal.gossip.observations import Observation

WALL_MS = 1_700_000_000_000


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _record(number: int, incarnation: int = WALL_MS) -> Record:
    return Record(_id(number), incarnation, (f"10.0.0.{number}:1",), f"host{number}", f"node{number}", 1, "1")


class Other:
    """The other end: a member whose packets are made by hand."""

    def __init__(self, number: int, incarnation: int = WALL_MS) -> None:
        self.record = _record(number, incarnation)
        self.address = self.record.addresses[0]
        self.start = incarnation
        self._counter = 0

    def packet(self, body: Body, **fields: object) -> Packet:
        self._counter += 1
        return Packet("c", self.record.id, self.start, self._counter, body, **fields)  # type: ignore[arg-type]

    def ping(self, seq: int = 1) -> Packet:
        return self.packet(Ping(seq, self.record, Report()))

    def pong(self, ping: Ping) -> Packet:
        return self.packet(Pong(ping.seq, self.record, Report()))

    def answer(self, node: Gossip, actions: list[Action], now: float) -> list[Action]:
        """Answer every ping sent to us, and what that leads to."""
        found: list[Action] = []
        for ping in _pings(actions, self.address):
            found += node.receive(self.pong(ping), self.address, now)
        return found


def _node(number: int = 1) -> Gossip:
    return Gossip(_record(number), "c", now=0.0, wall_ms=WALL_MS, rng=random.Random(number))


def _sent(actions: list[Action], address: str | None = None) -> list[Packet]:
    return [a.packet for a in actions if isinstance(a, Send) and address in (None, a.target)]


def _pings(actions: list[Action], address: str) -> list[Ping]:
    return [packet.body for packet in _sent(actions, address) if isinstance(packet.body, Ping)]


def _state(node: Gossip, other: Other) -> State | None:
    slot = node.members.slot(other.record.id)
    return State(node.members.ranks[slot] & STATE_MASK) if slot is not None else None


def _befriend(node: Gossip, other: Other, now: float = 0.0) -> None:
    other.answer(node, node.add_host(other.address, now), now)
    assert _state(node, other) is State.ALIVE


def _run(node: Gossip, until: float) -> list[tuple[float, Action]]:
    found: list[tuple[float, Action]] = []
    while node.wake_at <= until:
        now = node.wake_at
        found += [(now, action) for action in node.tick(now)]
    return found


def test_a_stranger_who_pings_is_believed_only_after_it_has_answered() -> None:
    node, other = _node(), Other(2)
    actions = node.receive(other.ping(), other.address, 1.0)
    assert _state(node, other) is State.UNCONFIRMED
    pong, ping = _sent(actions, other.address)
    assert isinstance(pong.body, Pong)
    assert isinstance(ping.body, Ping)
    assert node.observations[other.record.id].direct_at == 0.0

    node.receive(other.pong(ping.body), other.address, 1.1)
    assert _state(node, other) is State.ALIVE
    assert node.observations[other.record.id].direct_at == 1.1
    assert node.observations[other.record.id].roundtrip_ms == pytest.approx(100)


def test_a_pong_nobody_asked_for_changes_nothing() -> None:
    node, other = _node(), Other(2)
    node.receive(other.packet(Pong(77, other.record, Report())), "10.9.9.9:9", 1.0)
    assert _state(node, other) is None


def test_the_same_packet_twice_counts_once_and_an_older_process_not_at_all() -> None:
    node, other = _node(), Other(2)
    packet = other.ping()
    assert node.receive(packet, other.address, 1.0)
    assert node.receive(packet, other.address, 1.0) == []
    older = Other(2, WALL_MS - 5)
    assert node.receive(older.ping(), older.address, 1.0) == []
    assert node.counts.repeated == 2


@given(counters=st.lists(st.integers(1, 600), max_size=60))
def test_no_counter_is_accepted_twice(counters: list[int]) -> None:
    seen, accepted = Observation(), []
    for counter in counters:
        if seen.accepts(5, counter):
            accepted.append(counter)
    assert len(accepted) == len(set(accepted))
    newest = 0
    for counter in counters:  # and what is new and inside the window is
        if counter > newest:
            assert counter in accepted
            newest = counter


def test_another_cluster_gets_no_answer() -> None:
    node, other = _node(), Other(2)
    foreign = Packet("other", other.record.id, 1, 1, Ping(1, other.record, Report()))
    assert node.receive(foreign, other.address, 1.0) == []
    assert node.counts.foreign_cluster == 1


def test_precedence_of_claims() -> None:
    node, other = _node(), Other(2)
    _befriend(node, other)
    teller = Other(3)
    _befriend(node, teller)

    def tell(incarnation: int, state: State) -> State | None:
        update = Update(other.record.id, rank_of(incarnation, state), teller.record.id)
        node.receive(teller.packet(News(), updates=(update,)), teller.address, 1.0)
        return _state(node, other)

    inc = WALL_MS
    assert tell(inc, State.SUSPECT) is State.SUSPECT
    assert tell(inc, State.ALIVE) is State.SUSPECT  # alive at an equal incarnation overrides nothing
    assert tell(inc, State.DEAD) is State.DEAD
    assert tell(inc, State.SUSPECT) is State.DEAD
    assert tell(inc + 1, State.ALIVE) is State.ALIVE
    assert tell(inc, State.LEFT) is State.ALIVE  # of an older incarnation
    assert tell(inc + 1, State.LEFT) is State.LEFT
    assert tell(inc + 1, State.DEAD) is State.LEFT
    assert tell(inc + 2, State.ALIVE) is State.ALIVE


def test_who_hears_itself_doubted_raises_its_incarnation_and_says_so_at_once() -> None:
    node, other = _node(), Other(2)
    _befriend(node, other)
    doubt = rank_of(node.record.incarnation, State.SUSPECT)
    actions = node.receive(other.packet(News(), your_rank=doubt), other.address, 1.0)
    assert node.record.incarnation == WALL_MS + 1
    assert node.health == 1
    (told,) = _sent(actions, other.address)
    assert told.updates[0] == Update(node.record.id, rank_of(WALL_MS + 1, State.ALIVE))
    again = node.receive(other.packet(News(), your_rank=doubt), other.address, 1.1)
    assert _sent(again) == []


def test_a_silent_member_is_suspected_then_dead_and_help_is_asked_before() -> None:
    node, silent, helper = _node(), Other(2), Other(3)
    _befriend(node, silent)
    _befriend(node, helper)
    story: list[tuple[float, Action]] = []
    while node.wake_at <= 12:
        now = node.wake_at
        actions = node.tick(now)
        story += [(now, action) for action in actions]
        helper.answer(node, actions, now)
        for packet in _sent(actions, helper.address):
            if isinstance(packet.body, PingReq):
                node.receive(helper.packet(Nack(packet.body.seq, packet.body.target)), helper.address, now + 0.5)
    changes = [(now, a.after) for now, a in story if isinstance(a, MemberChanged)]
    assert [after for _, after in changes] == [State.SUSPECT, State.DEAD]
    (suspected, _), (died, _) = changes
    assert died - suspected == pytest.approx(DEFAULTS.suspicion_min)
    asked = [now for now, a in story if isinstance(a, Send) and isinstance(a.packet.body, PingReq)]
    assert min(asked) < suspected
    assert node.health == 0  # its helper answered: the fault is not ours
    accusing = [a.packet for now, a in story if isinstance(a, Send) and a.target == silent.address and now > suspected]
    assert len(accusing) >= DEFAULTS.suspicion_min - 1  # once a second
    assert all(packet.your_rank == rank_of(WALL_MS, State.SUSPECT) for packet in accusing[:3])


def test_reached_only_through_others_it_lives_and_the_link_is_marked() -> None:
    node, behind, helper = _node(), Other(2), Other(3)
    _befriend(node, behind)
    _befriend(node, helper)
    while node.wake_at <= 8:
        now = node.wake_at
        actions = node.tick(now)
        assert not [action for action in actions if isinstance(action, MemberChanged)]
        helper.answer(node, actions, now)
        for packet in _sent(actions, helper.address):
            if isinstance(packet.body, PingReq):
                answer = IndirectPong(packet.body.seq, behind.record.id, got_direct=False, roundtrip_ms=1)
                node.receive(helper.packet(answer), helper.address, now + 0.1)
    assert _state(node, behind) is State.ALIVE
    (link,) = node.links(8.0)
    assert (link.target, link.direction.name) == (behind.record.id, "REQUEST_LOST")
    _run(node, 8.0 + DEFAULTS.link_memory + bounds.UPKEEP_EVERY_S)


def test_after_standing_still_nobody_is_accused() -> None:
    node, other = _node(), Other(2)
    _befriend(node, other)
    node.tick(node.wake_at)  # a ping is under way
    actions = node.tick(60.0)
    assert node.counts.voided == 1
    assert not [action for action in actions if isinstance(action, MemberChanged)]


def test_relaying_a_ping_and_the_nack_when_it_is_not_answered() -> None:
    node, asker, target = _node(), Other(2), Other(3)
    _befriend(node, asker)
    _befriend(node, target)
    request = PingReq(9, target.record.id, target.record.addresses, patience_ms=1000)
    actions = node.receive(asker.packet(request), asker.address, 1.0)
    (ping,) = _pings(actions, target.address)
    assert ping.asked_by == (asker.record.id, 9)
    answered = node.receive(
        target.packet(Pong(ping.seq, target.record, Report(), got_direct=True)), target.address, 1.2
    )
    (answer,) = _sent(answered, asker.address)
    assert answer.body == IndirectPong(9, target.record.id, got_direct=True, roundtrip_ms=199)

    node.receive(asker.packet(request), asker.address, 2.0)
    nacks = [
        (now, action.packet.body)
        for now, action in _run(node, 3.0)
        if isinstance(action, Send) and isinstance(action.packet.body, Nack)
    ]
    assert nacks == [(2.8, Nack(9, target.record.id))]


def test_the_target_knows_whether_the_direct_ping_came() -> None:
    node, asker, relay = _node(), Other(2), Other(3)
    node.receive(asker.ping(seq=42), asker.address, 1.0)
    for seq, came in ((42, True), (43, False)):
        body = Ping(1, relay.record, Report(), node.record.id, asked_by=(asker.record.id, seq))
        (pong, *_) = _sent(node.receive(relay.packet(body), relay.address, 2.0), relay.address)
        assert isinstance(pong.body, Pong)
        assert pong.body.got_direct is came


def test_an_address_is_tried_by_the_schedule_and_then_given_up() -> None:
    node = _node()
    node.add_host("10.0.0.9:1", 0.0)
    story = _run(node, 60)
    tried = [now for now, action in story if isinstance(action, Send) and action.target == "10.0.0.9:1"]
    assert len(tried) == DEFAULTS.add_host_retries
    pauses = [later - earlier for earlier, later in zip([0.0, *tried], tried, strict=False)]
    for number, pause in enumerate(pauses):
        assert 0.5 <= pause / (0.1 * 2**number) <= 1.5
    assert [action for _, action in story if isinstance(action, HostSilent)] == [HostSilent("10.0.0.9:1")]
    assert node.add_host(node.record.addresses[0], 61.0) == []


def test_a_known_address_needs_no_introduction() -> None:
    node, other = _node(), Other(2)
    actions = other.answer(node, node.add_host(other.address, 0.0), 0.0)
    assert HostAnswered(other.address, other.record.id) in actions
    assert node.add_host(other.address, 1.0) == [HostAnswered(other.address, other.record.id)]


def test_our_own_id_from_elsewhere_is_told_after_three_packets() -> None:
    node, double = _node(1), Other(1, WALL_MS + 500)
    told = []
    for second in range(10):
        actions = node.receive(double.ping(), "10.0.0.77:1", float(second))
        assert not [a for a in actions if isinstance(a, MemberChanged)]
        told += [action for action in actions if isinstance(action, DuplicateId)]
    assert told == [DuplicateId("10.0.0.77:1")]
    assert len(node.members) == 0
    assert node.duplicate_address == "10.0.0.77:1"


def test_a_record_is_asked_of_whoever_spoke_of_its_member() -> None:
    node, teller, unknown = _node(), Other(2), Other(3)
    _befriend(node, teller)
    news = teller.packet(News(), updates=(Update(unknown.record.id, rank_of(WALL_MS, State.ALIVE)),))
    actions = node.receive(news, teller.address, 1.0)
    assert [packet.wanted for packet in _sent(actions, teller.address)] == [(unknown.record.id,)]
    assert _state(node, unknown) is None

    entry = Entry(unknown.record, rank_of(WALL_MS, State.ALIVE))
    node.receive(teller.packet(News(), records=(entry,)), teller.address, 1.1)
    assert _state(node, unknown) is State.ALIVE

    wish = teller.packet(News(), wanted=(unknown.record.id, _id(99)))
    given_ = [entry for packet in _sent(node.receive(wish, teller.address, 1.2)) for entry in packet.records]
    assert [entry.record for entry in given_] == [unknown.record]


def test_an_incarnation_no_clock_has_is_refused() -> None:
    node, teller, other = _node(), Other(2), Other(3)
    _befriend(node, teller)
    _befriend(node, other)
    absurd = Update(other.record.id, rank_of(2**50, State.DEAD))
    node.receive(teller.packet(News(), updates=(absurd,)), teller.address, 1.0)
    assert _state(node, other) is State.ALIVE
    node.receive(teller.packet(News(), your_rank=rank_of(2**50, State.DEAD)), teller.address, 1.0)
    assert node.record.incarnation == WALL_MS


def test_leaving_is_said_and_believed() -> None:
    node, other = _node(), Other(2)
    _befriend(node, other)
    node.receive(other.packet(Leave(WALL_MS)), other.address, 1.0)
    assert _state(node, other) is State.LEFT

    third = Other(3)
    _befriend(node, third, 2.0)
    goodbyes = _sent(node.leave(3.0), third.address)
    assert [packet.body for packet in goodbyes] == [Leave(node.record.incarnation)]
    assert node.receive(third.ping(), third.address, 4.0) == []
    assert node.tick(100.0) == []


def test_the_dead_are_forgotten_in_the_end_and_do_not_come_back_as_old_news() -> None:
    node, teller, dead = _node(), Other(2), Other(3)
    _befriend(node, teller)
    _befriend(node, dead)
    claim = rank_of(WALL_MS, State.DEAD)
    node.receive(teller.packet(News(), updates=(Update(dead.record.id, claim),)), teller.address, 1.0)
    long_after = 2.0 + DEFAULTS.remove_after
    actions = node.tick(long_after) + node.tick(long_after + bounds.UPKEEP_EVERY_S)
    assert MemberChanged(dead.record.id, State.DEAD, None) in actions
    assert _state(node, dead) is None

    old = Entry(dead.record, claim, age_ms=int(DEFAULTS.remove_after * 1000) + 60_000)
    node.receive(teller.packet(News(), records=(old,)), teller.address, long_after + 20)
    assert _state(node, dead) is None


def test_stored_members_are_unconfirmed_until_they_answer() -> None:
    node, other = _node(), Other(2)
    node.restore([other.record, _record(1)], [other.address], 0.0)
    assert _state(node, other) is State.UNCONFIRMED
    assert len(node.members) == 1
    other.answer(node, node.tick(node.wake_at), 0.1)
    assert _state(node, other) is State.ALIVE


def test_a_lonely_node_tries_its_stored_addresses_again() -> None:
    node, other = _node(), Other(2)
    node.restore([], [other.address], 0.0)
    tried = [now for now, a in _run(node, 100) if isinstance(a, Send) and a.target == other.address]
    assert [now for now in tried if now > DEFAULTS.seed_retry]
    assert [now for now in tried if now > 2 * DEFAULTS.seed_retry]


def test_new_addresses_are_told_with_a_new_incarnation() -> None:
    node, other = _node(), Other(2)
    _befriend(node, other)
    (told,) = _sent(node.set_addresses(("10.0.0.200:1",), 1.0), other.address)
    assert incarnation_of(told.updates[0].rank) == WALL_MS + 1
    assert node.record.addresses == ("10.0.0.200:1",)
    assert node.set_addresses(("10.0.0.200:1",), 2.0) == []


def test_news_are_told_so_often_and_the_outdated_not_at_all() -> None:
    queue = NewsQueue()
    queue.add(Update(_id(1), rank_of(1, State.ALIVE)), 0, 2)
    queue.add(Update(_id(2), rank_of(1, State.SUSPECT)), 1, 5)
    ranks = [rank_of(1, State.ALIVE), rank_of(2, State.ALIVE)]
    took = [queue.take(1000, 100, ranks, 0) for _ in range(3)]
    assert took == [(Update(_id(1), rank_of(1, State.ALIVE)),)] * 2 + [()]


@pytest.mark.parametrize(("members", "expected"), [(1, 1), (5, 1), (6, 2), (25, 5), (1000, 5)])
def test_probes_a_round(members: int, expected: int) -> None:
    assert DEFAULTS.probes_in_round(members) == expected


def test_suspicion_gets_shorter_with_every_accuser() -> None:
    times = [DEFAULTS.suspicion_s(confirmed, 1000) for confirmed in range(5)]
    assert times[0] == 24
    assert times[3] == times[4] == 4
    assert times == sorted(times, reverse=True)
    assert DEFAULTS.suspicion_s(0, 4) == 4
