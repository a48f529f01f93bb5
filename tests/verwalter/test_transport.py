"""How schedules travel: followers that fetch, leaders that collect, late parents."""

from __future__ import annotations

import random
from typing import Any

from manor.verwalter.schedule import Envelope, Stamp, hash_of
from manor.verwalter.transport.core import (
    LATE_PARENTS_MAX,
    LISTEN_AT_LEAST_S,
    Adopt,
    Fetch,
    ParentsReady,
    StableLeader,
    Transport,
)

ME, B, C, D = "aa", "bb", "cc", "dd"


def envelope(n: int, origin: str = B, **changes: Any) -> Envelope:
    data = {"n": n}
    return Envelope(
        **{"hash": hash_of(data), "timestamp": 1000 + n, "origin": origin, "epoch": 1, "data": data, **changes}
    )


def node(last_known: Envelope | None = None) -> Transport:
    return Transport(ME, random.Random(1), last_known)


def follower(last_known: Envelope | None = None) -> Transport:
    transport = node(last_known)
    transport.follows(B, 0.0)
    return transport


def stable_leader(last_known: Envelope | None = None) -> Transport:
    transport = node(last_known)
    transport.leads([], 0.0)
    transport.tick(LISTEN_AT_LEAST_S)
    assert isinstance(transport.state, StableLeader)
    return transport


# Followers


def test_a_follower_fetches_what_its_leader_announces_and_adopts_it() -> None:
    transport, one = follower(), envelope(1)
    assert transport.schedule_status == "waiting"
    assert transport.announced(B, one.stamp, 1.0) == [Fetch(one.hash, B)]
    assert transport.schedule_status == "fetching"
    assert transport.fetched(one, B, 1.1) == [Adopt(one, is_new=True)]
    assert (transport.schedule_status, transport.stable, transport.last_known) == ("ok", one, one)
    assert transport.announced(B, one.stamp, 1.5) == []


def test_a_schedule_that_is_here_already_becomes_stable_without_a_download() -> None:
    one = envelope(1, origin=C)
    transport = follower(last_known=one)
    assert transport.announced(B, Stamp(5000, one.hash, B), 1.0) == [Adopt(one, is_new=False)]


def test_a_leader_that_announces_nothing_leaves_its_follower_waiting() -> None:
    transport = follower(envelope(1))
    assert transport.announced(B, None, 1.0) == []
    assert (transport.schedule_status, transport.stable) == ("waiting", None)


def test_only_the_newest_announcement_is_fetched() -> None:
    transport, one, two = follower(), envelope(1), envelope(2)
    transport.announced(B, one.stamp, 1.0)
    assert transport.announced(B, two.stamp, 1.1) == [Fetch(two.hash, B)]
    assert transport.fetched(one, B, 1.2) == []
    assert transport.fetched(two, B, 1.3) == [Adopt(two, is_new=True)]


def test_a_failed_download_is_tried_again_soon_and_elsewhere_from_the_second_failure_on() -> None:
    transport, one = follower(), envelope(1)
    transport.announced(B, one.stamp, 1.0)
    transport.ponged(C, one.stamp, 1.0)
    assert transport.failed(one.hash, B, 1.1) == []
    assert 1.2 <= transport.wake_at <= 1.4
    assert transport.tick(1.4) == [Fetch(one.hash, B)]
    (again,) = transport.failed(one.hash, B, 1.5)
    assert again == Fetch(one.hash, C)


def test_a_schedule_of_another_leader_is_refused() -> None:
    transport, foreign = follower(), envelope(1, origin=C)
    transport.announced(B, foreign.stamp, 1.0)
    assert transport.fetched(foreign, B, 1.1) == []
    assert transport.stable is None


def test_what_others_announce_is_not_listened_to() -> None:
    transport = follower()
    assert transport.announced(C, envelope(1).stamp, 1.0) == []
    transport.lost()
    assert transport.announced(B, envelope(1).stamp, 1.0) == []
    assert transport.schedule_status == "unstable"


def test_in_a_large_cluster_followers_do_not_ask_all_at_once() -> None:
    transport = follower()
    transport.nodes = 300
    assert transport.announced(B, envelope(1).stamp, 1.0) == []
    assert 1.0 < transport.wake_at <= 1.5


# New leaders


def test_a_new_leader_listens_for_a_while_even_if_everybody_agrees() -> None:
    own = envelope(1)
    transport = node(own)
    assert transport.leads([B, C], 0.0) == []
    transport.ponged(B, own.stamp, 0.1)
    transport.ponged(C, own.stamp, 0.1)
    assert transport.wake_at == LISTEN_AT_LEAST_S
    assert transport.stamp is None, "it owns no schedule yet"
    assert transport.tick(LISTEN_AT_LEAST_S) == [ParentsReady((own,), (), ())]


def test_a_silent_peer_is_waited_for_at_most_five_seconds() -> None:
    transport = node()
    transport.leads([B, C], 0.0)
    transport.ponged(B, None, 0.1)
    assert transport.tick(4.9) == []
    assert transport.tick(5.0) == [ParentsReady((), (), ())]


def test_a_new_leader_fetches_what_it_did_not_know() -> None:
    own, other = envelope(1), envelope(2, origin=C)
    transport = node(own)
    transport.leads([B, C], 0.0)
    transport.ponged(B, own.stamp, 0.1)
    assert transport.ponged(C, other.stamp, 0.1) == [Fetch(other.hash, C)]
    assert transport.tick(2.0) == []
    assert transport.fetched(other, C, 2.1) == [ParentsReady((own, other), (), ())]


def test_a_slow_download_is_joined_by_another_holder() -> None:
    other = envelope(2)
    transport = node()
    transport.leads([B, C], 0.0)
    assert transport.ponged(B, other.stamp, 0.1) == [Fetch(other.hash, B)]
    assert transport.ponged(C, other.stamp, 0.2) == []
    assert transport.tick(1.1) == [Fetch(other.hash, C)]


def test_what_cannot_be_fetched_holds_the_leader_up_for_a_minute_at_most() -> None:
    transport = node(envelope(1))
    transport.leads([B], 0.0)
    transport.ponged(B, envelope(2).stamp, 0.1)
    transport.tick(5.0)
    assert not [action for action in transport.tick(59.0) if isinstance(action, ParentsReady)]
    (ready,) = [action for action in transport.tick(60.0) if isinstance(action, ParentsReady)]
    assert ready.missing == ((envelope(2).hash, (B,)),)


def test_forefathers_are_not_fetched() -> None:
    old = envelope(1)
    own = envelope(2, ancestors=((old.hash, old.timestamp),))
    transport = node(own)
    transport.leads([B], 0.0)
    assert transport.ponged(B, old.stamp, 0.1) == []


# Stable leaders


def test_a_leader_publishes_and_an_equal_schedule_changes_nothing() -> None:
    transport, one = stable_leader(), envelope(1, origin=ME)
    assert transport.published(one) == [Adopt(one, is_new=True)]
    assert transport.stamp == one.stamp
    assert transport.published(envelope(1, origin=ME, timestamp=9999)) == []
    assert transport.stamp == one.stamp


def test_a_new_leader_issues_the_same_schedule_under_its_own_name() -> None:
    inherited = envelope(1, origin=B)
    transport = stable_leader(inherited)
    own = envelope(1, origin=ME, epoch=2)
    assert transport.published(own) == [Adopt(own, is_new=True)]


def test_a_foreign_schedule_becomes_a_late_parent_once() -> None:
    transport, foreign = stable_leader(), envelope(7, origin=D)
    transport.published(envelope(1, origin=ME))
    assert transport.ponged(D, foreign.stamp, 10.0) == [Fetch(foreign.hash, D)]
    transport.fetched(foreign, D, 10.1)
    assert transport.take_late_parents() == (foreign,)
    assert transport.ponged(D, foreign.stamp, 11.0) == []
    assert transport.take_late_parents() == ()


def test_own_former_schedules_are_nothing_foreign() -> None:
    transport = stable_leader()
    one, two = envelope(1, origin=ME), envelope(2, origin=ME)
    transport.published(one)
    transport.published(two)
    assert transport.ponged(D, one.stamp, 10.0) == []


def test_a_late_parent_that_cannot_be_had_is_given_up_after_three_tries() -> None:
    transport, foreign = stable_leader(), envelope(7, origin=D)
    transport.published(envelope(1, origin=ME))
    now, asked = 10.0, transport.ponged(D, foreign.stamp, 10.0)
    for _ in range(3):
        assert asked == [Fetch(foreign.hash, D)]
        transport.failed(foreign.hash, D, now)
        now += 1.0
        asked = transport.tick(now)
    assert asked == []
    assert transport.ponged(D, foreign.stamp, now) == []


def test_a_round_takes_at_most_eight_late_parents() -> None:
    transport = stable_leader()
    transport.published(envelope(1, origin=ME))
    for n in range(10, 20):
        transport.ponged(D, envelope(n).stamp, 10.0)
        transport.fetched(envelope(n), D, 10.0)
    assert len(transport.take_late_parents()) == LATE_PARENTS_MAX
    assert len(transport.take_late_parents()) == 2


def test_with_the_leadership_everything_unfinished_is_forgotten() -> None:
    transport, foreign = stable_leader(), envelope(7, origin=D)
    transport.published(envelope(1, origin=ME))
    transport.ponged(D, foreign.stamp, 10.0)
    transport.lost()
    assert transport.stable is None
    assert transport.tick(20.0) == []
    assert transport.fetched(foreign, D, 20.0) == []
