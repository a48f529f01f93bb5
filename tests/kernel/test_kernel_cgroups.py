"""Control groups: the three layouts as text, and the host's own as it is."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_namespaces import wait_for

from manor.kernel import cgroups
from manor.kernel.mounts import parse_mount

V1 = """
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
"""
HYBRID = V1 + "35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
V2 = """
30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
99 23 0:26 / /var/lib/elsewhere rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""


def parsed(table: str) -> cgroups.Layout:
    return cgroups.parse_layout(map(parse_mount, table.strip().splitlines()))


def test_the_layout_of_v1_has_a_hierarchy_per_controller_or_group_of_them() -> None:
    found = parsed(V1)
    assert found.kind is cgroups.Kind.V1
    assert found.unified is None
    assert found.controllers == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
        "name=systemd": Path("/sys/fs/cgroup/systemd"),
    }
    assert [hierarchy.options for hierarchy in found.mounted] == ["cpu,cpuacct", "memory", "none,name=systemd"]
    assert found.hierarchy("name") == Path("/sys/fs/cgroup/systemd")
    assert found.hierarchy("blkio") is None
    assert found.hierarchy("io") is None


def test_hybrid_is_v1_with_an_empty_v2_beside_it() -> None:
    found = parsed(HYBRID)
    assert found.kind is cgroups.Kind.HYBRID
    assert found.unified == Path("/sys/fs/cgroup/unified")
    assert len(found.hierarchies) == 4
    assert found.hierarchy("cpu") == Path("/sys/fs/cgroup/cpu,cpuacct")


def test_v2_is_one_hierarchy_however_often_it_is_mounted() -> None:
    found = parsed(V2)
    assert found.kind is cgroups.Kind.V2
    assert found.hierarchies == (Path("/sys/fs/cgroup"),)
    assert found.hierarchy("name") == Path("/sys/fs/cgroup")


def test_the_old_names_of_controllers_are_known_on_v2() -> None:
    top = Path("/sys/fs/cgroup")
    found = cgroups.Layout((cgroups.Hierarchy(top, "cgroup2", "", ("cpu", "io", "memory", "pids")),))
    assert [found.hierarchy(name) for name in ("cpuacct", "blkio", "memory", "cpuset")] == [top, top, top, None]


def test_a_host_without_any_is_told() -> None:
    assert parsed("1 0 0:5 / /proc rw - proc proc rw").mounted == ()


_number = itertools.count()


@pytest.fixture
def group() -> Iterator[str]:
    path = f"/manor-test-{os.getpid()}-groups-{next(_number)}"
    yield path
    cgroups.kill_all(path)
    cgroups.remove(path)
    assert not any((hierarchy / path[1:]).exists() for hierarchy in cgroups.layout().hierarchies)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "300"])


def test_a_process_joins_every_hierarchy_or_those_of_some_controllers(group: str) -> None:
    everywhere, somewhere = sleeper(), sleeper()
    cgroups.join(f"{group}/all", pid=everywhere.pid)
    assert set(cgroups.groups_of(everywhere.pid).values()) == {f"{group}/all"}
    cgroups.join(f"{group}/some", ["memory", "no-such-controller"], pid=somewhere.pid)
    places = set(cgroups.groups_of(somewhere.pid).values())
    assert f"{group}/some" in places
    assert cgroups.processes(f"{group}/all") == [everywhere.pid]
    assert cgroups.processes(group) == []
    assert cgroups.processes(group, recursive=True) == sorted([everywhere.pid, somewhere.pid])
    assert cgroups.kill_all(group)
    assert [everywhere.wait(30), somewhere.wait(30)] == [-9, -9]


def test_a_group_with_processes_is_not_removed_and_nothing_is_killed(group: str) -> None:
    child = sleeper()
    cgroups.join(f"{group}/below", pid=child.pid)
    with pytest.raises(OSError, match="Device or resource busy"):
        cgroups.remove(group)
    assert child.poll() is None
    assert cgroups.kill_all(group)
    child.wait(30)
    cgroups.remove(group)
    cgroups.remove(group)  # once more does no harm
    assert cgroups.processes(group, recursive=True) == []


def test_killing_reaches_what_is_started_meanwhile(group: str) -> None:
    script = "read x; for i in $(seq 200); do sleep 300 & done; wait"
    forker = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE)
    assert forker.stdin is not None
    cgroups.join(group, pid=forker.pid)
    forker.stdin.write(b"\n")
    forker.stdin.close()
    wait_for(lambda: len(cgroups.processes(group)) > 20)
    assert cgroups.kill_all(group)
    assert forker.wait(30) == -9
    assert cgroups.processes(group) == []


@pytest.mark.parametrize("path", ["", "/", "/a/../..", "/./a"])
def test_a_path_that_names_the_root_or_leaves_it_is_refused(path: str) -> None:
    for function in (cgroups.remove, cgroups.kill_all, cgroups.join):
        with pytest.raises(ValueError, match="is not the path of a control group"):
            function(path)
