"""Ids inside and outside, and whose subordinate ids they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.kernel.id_map import (
    BadSubordinateFile,
    IdMap,
    IdNotMapped,
    IdRange,
    SubordinateRange,
    TooFewIds,
    pair,
    parse_map,
    read_maps,
    subordinate_ranges,
    to_inside,
    to_outside,
)

ranges = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 50)), max_size=6).map(
    lambda gaps_and_counts: [
        (sum(g + c for g, c in gaps_and_counts[:n]) + gap, count) for n, (gap, count) in enumerate(gaps_and_counts)
    ]
)


def test_an_id_is_translated_both_ways_within_its_range() -> None:
    id_map: IdMap = (IdRange(0, 1000, 1), IdRange(1, 100_000, 65_535))
    assert [to_outside(id_map, inside) for inside in (0, 1, 65_535)] == [1000, 100_000, 165_534]
    assert to_inside(id_map, 100_001) == 2
    with pytest.raises(IdNotMapped, match="id 65536 has no counterpart outside"):
        to_outside(id_map, 65_536)
    with pytest.raises(IdNotMapped, match="id 0 has no counterpart inside"):
        to_inside(id_map, 0)


def test_ranges_are_matched_in_order_and_split_where_one_ends() -> None:
    assert pair([(0, 1), (1, 10)], [(1000, 1), (5000, 4), (9000, 100)]) == (
        IdRange(0, 1000, 1),
        IdRange(1, 5000, 4),
        IdRange(5, 9000, 6),
    )
    with pytest.raises(TooFewIds, match="11 ids are wanted and 5 are available") as caught:
        pair([(0, 11)], [(1000, 1), (5000, 4)])
    assert (caught.value.wanted, caught.value.available) == (11, 5)


@given(inside=ranges, outside=ranges)
def test_every_id_inside_gets_its_own_outside_or_none_does(
    inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    ids_inside = [first + n for first, count in inside for n in range(count)]
    ids_outside = [first + n for first, count in outside for n in range(count)]
    if len(ids_outside) < len(ids_inside):
        with pytest.raises(TooFewIds):
            pair(inside, outside)
        return
    id_map = pair(inside, outside)
    assert [to_outside(id_map, one) for one in ids_inside] == ids_outside[: len(ids_inside)]
    assert [to_inside(id_map, one) for one in ids_outside[: len(ids_inside)]] == ids_inside


def test_subordinate_ranges_are_the_users_lines_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("# who may what\n\nanna:100000:65536\nbob:165536:65536\nanna:400000:10\n1007:1:2\n")
    assert subordinate_ranges("anna", file=file) == (SubordinateRange(100_000, 65_536), SubordinateRange(400_000, 10))
    assert subordinate_ranges("1007", file=file) == (SubordinateRange(1, 2),)
    assert subordinate_ranges("nobody", file=file) == ()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("anna:100000", "malformed line `anna:100000`; write `NAME:FIRST:COUNT`"),
        ("anna:1:2:3", "malformed line"),
        ("anna:one:2", "malformed line"),
        ("anna:-1:2", "malformed line"),
        (":1:2", "malformed line"),
        ("anna:100000:0", "a range of 0 ids; give a count such as 65536, or remove the line"),
        ("anna:1000:100", "the range holds 1007, the user's own id; choose one that begins above it"),
    ],
)
def test_a_bad_line_is_told_with_its_place(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "subuid"
    file.write_text(f"bob:1:1\n{line}\n")
    with pytest.raises(BadSubordinateFile) as caught:
        subordinate_ranges("anna", file=file, own_id=1007)
    assert str(caught.value).startswith(f"{file}:2:1: {complaint}")


def test_a_missing_file_is_the_kernels_word(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        subordinate_ranges("anna", file=tmp_path / "subuid")


def test_the_maps_of_a_namespace_are_read_as_the_kernel_writes_them() -> None:
    assert parse_map("         0       1000          1\n         1     100000      65535\n") == (
        IdRange(0, 1000, 1),
        IdRange(1, 100_000, 65_535),
    )
    assert read_maps("self")[0][0].inside == 0


MAKE_AND_MAP = """
import os, signal, sys
from manor.kernel import id_map, namespaces, process, syscalls
uid = int(sys.argv[1])
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
    syscalls.libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: lost with the change of user, and /proc/PID is root's then
made, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    process.set_parent_death_signal(signal.SIGKILL)
    namespaces.unshare(namespaces.NEWUSER)
    os.write(made[1], b"x"); os.read(go[0], 1)
    os.execv("/bin/cat", ["cat", "/proc/self/uid_map", "/proc/self/gid_map"])
os.read(made[0], 1)
one = (id_map.IdRange(*map(int, sys.argv[2].split(":"))),)
id_map.write_maps(child, one, one)
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(("uid", "ids"), [("0", "0:100000:65536"), ("65534", "0:65534:1")])
def test_root_and_an_ordinary_user_for_himself_map_without_further_programs(uid: str, ids: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", MAKE_AND_MAP, uid, ids],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/nonexistent"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ids.split(":") * 2


def test_what_newuidmap_refuses_is_told_in_its_own_words() -> None:
    """uid 65534 owns no subordinate ids."""
    result = subprocess.run(
        [sys.executable, "-c", MAKE_AND_MAP, "65534", "0:100000:65536"],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.defpath},
        check=False,
    )
    assert result.returncode == 1
    assert "PermissionError: [Errno 1] newgidmap: " in result.stderr
