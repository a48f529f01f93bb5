"""The election core: its tables by stories, one node at a time."""

from __future__ import annotations

import builtins
import random
import socket
import time

import pytest

from manor.verwalter.election import (
    Confirm,
    Election,
    ElectionNumbers,
    Persist,
    Ping,
    PingAll,
    Pong,
    SendPong,
    View,
    Vote,
    VoteAll,
    needed_votes,
)
from manor.verwalter.election.machine import MESSAGE_TABLE, Electing, Follower, Leader, Starting, Voted
from manor.verwalter.election.numbers import NumbersContradict

NUMBERS = ElectionNumbers()
ME = "aa"


def view_of(*peers: str, **changes: object) -> View:
    """A fresh view in which everybody responds."""
    fields: dict[str, object] = {"responsive": frozenset(peers), "fresh": True, **changes}
    return View(own_id=ME, peers=frozenset(peers), **fields)  # type: ignore[arg-type]


FIVE = view_of("bb", "cc", "dd", "ee")


def machine(epoch: int = 0, voted_for: str | None = None) -> Election:
    return Election(ME, NUMBERS, random.Random(1), now=0.0, epoch=epoch, voted_for=voted_for)


def leader_of_five(now: float = 20.0) -> Election:
    """Elected in epoch 1 by bb and cc, who have just answered a ping."""
    election = machine()
    election.tick(now, FIVE)
    for voter in ("bb", "cc"):
        election.receive(Vote(1, ME), voter, now, FIVE)
    assert isinstance(election.state, Leader)
    for voter in ("bb", "cc"):
        election.receive(Pong(1), voter, now, FIVE)
    return election


def follower_of(leader: str = "bb", epoch: int = 3, now: float = 1.0) -> Election:
    election = machine()
    election.receive(Ping(epoch), leader, now, FIVE)
    return election


@pytest.mark.parametrize(("nodes", "votes"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_needed(nodes: int, votes: int) -> None:
    assert needed_votes(nodes) == votes


def test_a_silent_start_ends_in_an_election_that_is_written_down_before_it_is_spoken() -> None:
    election = machine()
    assert election.tick(5.0, FIVE) == []  # 5 s and a message time-out have to pass
    assert election.tick(9.1, FIVE) == [Persist(1, ME), VoteAll(1, answered=frozenset({ME}))]
    assert isinstance(election.state, Electing)


def test_votes_of_a_majority_make_a_leader_who_pings_at_once_and_then_twice_a_second() -> None:
    election = machine()
    election.tick(10.0, FIVE)
    assert election.receive(Vote(1, ME), "bb", 10.1, FIVE) == []
    assert election.receive(Vote(1, ME), "bb", 10.1, FIVE) == []  # the same vote again is one vote
    assert election.receive(Vote(1, ME), "cc", 10.1, FIVE) == [PingAll(1)]
    assert election.tick(10.5, FIVE) == []
    assert election.tick(10.6, FIVE) == [PingAll(1)]


def test_votes_of_strangers_do_not_count() -> None:
    election = machine()
    election.tick(10.0, FIVE)
    election.receive(Vote(1, ME), "bb", 10.1, FIVE)
    assert election.receive(Vote(1, ME), "99", 10.1, FIVE) == []
    assert isinstance(election.state, Electing)


def test_the_call_for_votes_is_repeated_once_to_those_who_are_missing() -> None:
    election = machine()
    election.tick(10.0, FIVE)
    election.receive(Vote(1, ME), "bb", 10.1, FIVE)
    repeat_at = election.wake_at
    assert repeat_at < election.deadline
    assert election.tick(repeat_at, FIVE) == [VoteAll(1, answered=frozenset({ME, "bb"}))]
    assert election.wake_at == election.deadline


def test_a_node_alone_leads_without_votes() -> None:
    assert machine().tick(10.0, view_of()) == [Persist(1, None), PingAll(1)]


def test_a_node_whose_peers_are_all_silent_leads_at_once_where_minorities_may() -> None:
    election = machine()
    view = view_of("bb", "cc", responsive=frozenset(), minority_allowed=True)
    assert election.tick(10.0, view) == [Persist(1, ME), PingAll(1)]


def test_a_node_whose_peers_are_all_silent_never_leads_where_minorities_may_not() -> None:
    election = machine()
    view = view_of("bb", "cc", responsive=frozenset())
    for second in range(10, 300):
        election.tick(float(second), view)
        assert not isinstance(election.state, Leader)


def test_a_stale_view_sends_everybody_back_to_the_start_without_losing_the_epoch() -> None:
    election = leader_of_five()
    assert election.tick(election.deadline, view_of("bb", fresh=False)) == []
    assert (election.state, election.epoch) == (Starting(), 1)


def test_who_may_not_stand_only_waits_and_still_votes() -> None:
    election, view = machine(), view_of("bb", "cc", candidate=False)
    assert election.tick(10.0, view) == []
    assert election.receive(Vote(1, "bb"), "bb", 10.1, view) == [Persist(1, "bb"), Confirm(1, "bb")]


def test_a_node_votes_once_in_an_epoch_and_repeats_the_same_vote_when_asked_again() -> None:
    election = machine()
    assert election.receive(Vote(1, "bb"), "bb", 1.0, FIVE) == [Persist(1, "bb"), Confirm(1, "bb")]
    assert election.receive(Vote(1, "cc"), "cc", 1.1, FIVE) == []
    assert election.receive(Vote(1, "bb"), "bb", 1.2, FIVE) == [Confirm(1, "bb")]


def test_a_vote_on_the_disk_binds_after_a_restart() -> None:
    election = machine(epoch=4, voted_for="bb")
    assert election.receive(Vote(4, "cc"), "cc", 1.0, FIVE) == []
    assert election.receive(Vote(4, "bb"), "bb", 1.0, FIVE) == [Confirm(4, "bb")]


def test_a_ping_makes_a_follower_that_stands_when_the_leader_falls_silent() -> None:
    election = machine()
    assert election.receive(Ping(3), "bb", 1.0, FIVE) == [Persist(3, None), SendPong(3, "bb")]
    assert election.state == Follower("bb", 1.0)
    assert 2.6 <= election.deadline <= 5.0
    assert election.tick(5.0, FIVE) == [Persist(4, ME), VoteAll(4, answered=frozenset({ME}))]


def test_a_follower_that_just_heard_its_leader_ignores_newer_votes_and_stray_pongs() -> None:
    election = follower_of("bb", epoch=3, now=1.0)
    assert election.receive(Vote(9, "cc"), "cc", 2.0, FIVE) == []
    assert election.receive(Pong(9), "cc", 2.0, FIVE) == []
    assert election.receive(Pong(3), "cc", 2.0, FIVE) == []
    assert election.state == Follower("bb", 1.0)
    assert election.receive(Vote(9, "cc"), "cc", 2.3, FIVE) == [Persist(9, "cc"), Confirm(9, "cc")]


def test_a_leader_with_a_fresh_quorum_lifts_its_epoch_over_a_newcomer() -> None:
    election = leader_of_five(now=20.0)
    assert election.receive(Vote(7, "dd"), "dd", 21.0, FIVE) == [Persist(8, None), PingAll(8)]
    assert isinstance(election.state, Leader)
    assert election.counts["became_leader"] == 1


def test_a_leader_whose_quorum_is_old_gives_way_to_a_newer_vote() -> None:
    election = leader_of_five(now=20.0)
    assert election.receive(Vote(7, "dd"), "dd", 21.7, FIVE) == [Persist(7, "dd"), Confirm(7, "dd")]
    assert election.state == Voted("dd")


def test_two_leaders_of_one_epoch_elect_again() -> None:
    election = leader_of_five(now=20.0)
    assert election.receive(Ping(1), "dd", 20.1, FIVE) == [Persist(2, ME), VoteAll(2, answered=frozenset({ME}))]


def test_a_leader_follows_a_newer_leader() -> None:
    election = leader_of_five(now=20.0)
    assert election.receive(Ping(2), "dd", 20.1, FIVE) == [Persist(2, None), SendPong(2, "dd")]


def test_a_leader_without_answers_of_a_majority_steps_down_after_eight_seconds() -> None:
    election = leader_of_five(now=20.0)
    now = 20.0
    while isinstance(election.state, Leader):
        now = election.deadline
        election.tick(now, FIVE)
    assert 28.0 <= now <= 28.6
    assert election.changes[-1].reason == "quorum_lost"


def test_a_leader_that_overslept_pings_no_more_whatever_waits_in_its_socket() -> None:
    election = leader_of_five(now=20.0)
    assert election.tick(30.0, FIVE) == []
    assert election.state == Starting()
    election = leader_of_five(now=20.0)
    assert election.receive(Pong(1), "bb", 30.0, view_of("bb", "cc", "dd", "ee", candidate=False)) == []
    assert election.state == Starting()


def test_a_leader_asked_to_resign_does_not_stand_for_a_minute_then_two() -> None:
    election = leader_of_five(now=20.0)
    asked = view_of("bb", "cc", "dd", "ee", resign_requested=True)
    election.tick(20.5, asked)
    assert election.state == Starting()
    assert not election.may_stand(80.0, FIVE)
    assert election.may_stand(80.6, FIVE)


def test_an_epoch_of_a_former_life_is_jumped_over() -> None:
    election = machine()
    assert election.receive(Vote(5, ME), "bb", 1.0, FIVE) == [Persist(6, ME), VoteAll(6, answered=frozenset({ME}))]


def test_what_is_older_is_counted_and_changes_nothing() -> None:
    election = follower_of("bb", epoch=3)
    for message in (Ping(2), Pong(2), Vote(2, "cc")):
        assert election.receive(message, "cc", 1.0, FIVE) == []
    assert election.counts["outdated"] == 3


def test_own_packets_that_come_back_are_dropped() -> None:
    assert machine().receive(Ping(9), ME, 1.0, FIVE) == []


def test_elections_in_a_row_become_slower_from_the_fourth_on() -> None:
    waits = [NUMBERS.draw_election_timeout(random.Random(5), in_a_row) for in_a_row in range(1, 12)]
    assert waits[0] == waits[2] < waits[3] < waits[4]
    assert waits[3] == 2 * waits[0]
    assert max(waits) == 8.0


def test_every_row_of_the_message_table_stands_there_once() -> None:
    assert [row.number for row in MESSAGE_TABLE] == list(range(2, 21))


def test_numbers_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(NumbersContradict, match="`sticky` must be below"):
        ElectionNumbers(sticky_s=2.0)


def test_the_machine_reads_no_clock_no_file_and_no_global_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_args: object, **_kwargs: object) -> object:
        raise AssertionError("the core must not do this")

    for module, names in (
        (time, ("time", "monotonic", "sleep", "time_ns", "perf_counter")),
        (random, ("random", "uniform", "choice", "randint")),
        (builtins, ("open",)),
        (socket, ("socket",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, forbidden)
    election = leader_of_five()
    election.tick(20.5, FIVE)
    election.receive(Vote(5, ME), "bb", 21.0, FIVE)
    election.receive(Ping(9), "bb", 22.0, FIVE)
    assert election.epoch == 9
