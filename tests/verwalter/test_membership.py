"""Who is counted, who lives: cantal's answers, packets, restarts of cantal, clocks that jump."""

from __future__ import annotations

import pytest

from manor.verwalter.membership import (
    CantalAnswer,
    CantalPeer,
    Member,
    Membership,
    Rights,
    host_of,
    shared_hostnames,
)

WALL_MS = 1_773_479_702_000
ME, B, C, D, E = "aa", "bb", "cc", "dd", "ee"


def answer(*ids: str, **changes: object) -> CantalAnswer:
    return CantalAnswer(peers=tuple(peer(id, **changes) for id in ids))


def peer(id: str, **changes: object) -> CantalPeer:
    fields: dict[str, object] = {"hostname": f"host-{id}", "primary_addr": f"10.0.0.{int(id, 16)}:22682"}
    return CantalPeer(id=id, **{**fields, "available": True, **changes})  # type: ignore[arg-type]


def test_peers_without_hexadecimal_id_and_the_node_itself_are_dropped() -> None:
    membership = Membership(ME)
    membership.learn(answer(ME, B), 0.0, WALL_MS)
    membership.learn(CantalAnswer(peers=(peer(B), CantalPeer(id="zz"), peer(ME))), 1.0, WALL_MS + 1000)
    assert set(membership.peers) == {B}


def test_the_port_of_cantal_is_cut_off_and_a_peer_without_address_is_counted_all_the_same() -> None:
    membership = Membership(ME)
    nowhere = peer(C, primary_addr=None)
    membership.learn(CantalAnswer(peers=(peer(B), nowhere)), 0.0, WALL_MS)
    assert membership.peers[B].address == "10.0.0.187"
    assert membership.peers[C].address is None
    assert membership.view(0.0, Rights()).needed == 2


@pytest.mark.parametrize(("text", "host"), [("10.0.0.2:22682", "10.0.0.2"), ("[fe80::1]:1", "fe80::1"), ("::1", "::1")])
def test_addresses_lose_their_port(text: str, host: str) -> None:
    assert host_of(text) == host


def test_a_view_is_fresh_for_five_seconds() -> None:
    membership = Membership(ME)
    assert not membership.view(0.0, Rights()).fresh
    membership.learn(answer(B), 1.0, WALL_MS)
    assert membership.view(6.0, Rights()).fresh
    assert not membership.view(6.1, Rights()).fresh


def test_a_peer_is_responsive_while_anything_was_heard_of_it_lately() -> None:
    membership = Membership(ME)
    dead = answer(B, available=False)
    membership.learn(dead, 0.0, WALL_MS)
    assert membership.responsive == frozenset()
    membership.hear(B, 1.0)
    assert membership.responsive == {B}
    membership.learn(dead, 75.0, WALL_MS + 75_000)
    assert membership.responsive == {B}
    membership.learn(dead, 76.5, WALL_MS + 76_500)
    assert membership.responsive == frozenset()


def test_a_direct_report_counts_by_its_age_on_the_agents_clock() -> None:
    membership = Membership(ME)
    stamped = CantalAnswer(peers=(peer(B, available=False, last_report_direct=5_000),), requested=15_000)
    membership.learn(stamped, 100.0, WALL_MS)
    assert membership.heard_ago(B, 100.0) == 10.0


@pytest.mark.case("verwalter-72")
def test_five_hundred_peers_that_meet_each_other_rarely_are_all_responsive() -> None:
    ids = [f"{number:04x}" for number in range(1, 501)]
    long_ago = WALL_MS - 200_000
    peers = tuple(CantalPeer(id=id, hostname=id, available=True, last_report_direct=long_ago) for id in ids)
    membership = Membership("ffff")
    membership.learn(CantalAnswer(peers=peers), 0.0, WALL_MS)
    assert 1 + len(membership.responsive) == 501


@pytest.mark.case("verwalter-71")
def test_a_cantal_that_has_just_started_turns_no_minority_into_a_majority() -> None:
    membership = Membership(ME)
    membership.learn(answer(B, C, D, E), 0.0, WALL_MS)
    assert membership.view(0.0, Rights()).needed == 3
    membership.learn(answer(), 1.0, WALL_MS + 1000)
    view = membership.view(1.0, Rights())
    assert (view.needed, len(view.peers)) == (3, 4)
    left = CantalAnswer(peers=(peer(B), peer(C), peer(D), peer(E, state="left", available=False)))
    membership.learn(left, 2.0, WALL_MS + 2000)
    view = membership.view(2.0, Rights())
    assert (view.needed, 1 + len(view.peers)) == (3, 4)


def test_what_election_json_remembers_is_counted_before_cantal_says_anything() -> None:
    membership = Membership(ME, [Member(id=B, name="beta"), Member(id=C, name="gamma")])
    assert membership.view(0.0, Rights()).needed == 2


def test_members_are_written_when_they_change_with_the_time_they_were_heard() -> None:
    membership = Membership(ME)
    membership.learn(answer(B), 0.0, WALL_MS)
    assert membership.members_changed
    membership.hear(B, 10.0)
    (member,) = membership.take_members(12.0, WALL_MS + 12_000)
    assert (member.id, member.last_heard) == (B, WALL_MS + 10_000)
    assert not membership.members_changed


def test_operators_and_silence_make_a_node_forgotten() -> None:
    membership = Membership(ME, forget_after_s=3600.0)
    membership.learn(answer(B, C, D), 0.0, WALL_MS)
    membership.learn(answer(B, C, D), 1.0, WALL_MS + 1000, forgotten=["host-bb"])
    assert membership.known == {C, D}
    silent = CantalAnswer(peers=(peer(C, available=False), peer(D)))
    membership.learn(silent, 3602.0, WALL_MS + 3_602_000, forgotten=["host-bb"])
    assert membership.known == {D}


def test_a_jump_of_the_wall_clock_makes_nobody_silent() -> None:
    membership = Membership(ME)
    stamp = WALL_MS - 1000
    membership.learn(answer(B, available=False, last_report_direct=stamp), 0.0, WALL_MS)
    assert membership.responsive == {B}
    jumped = answer(B, available=False, last_report_direct=stamp)
    membership.learn(jumped, 74.0, WALL_MS + 3_674_000)
    assert membership.responsive == {B}
    membership.learn(jumped, 100.0, WALL_MS + 3_700_000)
    assert membership.responsive == {B}, "not believed for 75 s, so it stays as it was"
    membership.learn(jumped, 150.0, WALL_MS + 3_750_000)
    assert membership.responsive == frozenset()


def test_the_view_is_one_object_until_something_changes() -> None:
    membership = Membership(ME)
    same = answer(B, C)
    membership.learn(same, 0.0, WALL_MS)
    view = membership.view(0.5, Rights())
    membership.learn(same, 1.0, WALL_MS + 1000)
    assert membership.view(1.5, Rights()) is view


def test_of_two_nodes_with_one_host_name_the_lower_id_owns_it() -> None:
    membership = Membership(ME)
    membership.learn(CantalAnswer(peers=(peer(C, hostname="same"), peer(B, hostname="same"))), 0.0, WALL_MS)
    assert shared_hostnames(membership.peers, ME, "alpha") == {"same": [B, C]}
