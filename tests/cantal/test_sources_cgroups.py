"""Control groups of all layouts, on made-up trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from scanned_machine import MadeUp, Scanned

from manor.cantal.sources.file_source import Facts
from manor.cantal.store.series import Kind

V1_MOUNTS = """\
30 20 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 20 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 20 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 20 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
35 20 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
"""
V2_LINE = "40 20 0:40 / /sys/fs/cgroup{} rw - cgroup2 cgroup2 rw\n"
LAYOUTS = {
    "v1": (V1_MOUNTS, "/sys/fs/cgroup/systemd"),
    "hybrid": (V1_MOUNTS + V2_LINE.format("/unified"), "/sys/fs/cgroup/systemd"),
    "v2": (V2_LINE.format(""), "/sys/fs/cgroup"),
}
GROUPS = {
    "system.slice": [],
    "system.slice/nscd.service": [10],
    "system.slice/home.mount": [11],
    "system.slice/dev-sda.swap": [12],
    "lithos.slice": [],
    "lithos.slice/web:app.0": [13, 14],
    "user.slice": [],
    "user.slice/user-0.slice": [15],
    "init.scope": [1],
}


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    machine = MadeUp(tmp_path)
    machine.put("/proc/stat", "cpu 1 1 1 1\nintr 0\nctxt 0\nbtime 1700000000\n")
    machine.put("/proc/diskstats", "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n")
    return machine


def make_groups(made_up: MadeUp, root: str, groups: dict[str, list[int]]) -> None:
    made_up.put(f"{root}/cgroup.procs", "2\n")
    for group, pids in groups.items():
        made_up.put(f"{root}/{group}/cgroup.procs", "".join(f"{pid}\n" for pid in pids))
        for pid in pids:
            made_up.process(pid)


def scanned(made_up: MadeUp, layout: str, **options: object) -> Scanned:
    made_up.put("/proc/self/mountinfo", LAYOUTS[layout][0])
    return Scanned(made_up.proc, made_up.sys, Facts(100, 4096), **options)


@pytest.mark.case("cantal-22")
@pytest.mark.parametrize("layout", ["v1", "hybrid", "v2"])
def test_names_and_members_are_alike_in_every_layout(made_up: MadeUp, layout: str) -> None:
    make_groups(made_up, LAYOUTS[layout][1], GROUPS)
    machine = scanned(made_up, layout).scan()
    groups = machine.scanner.groups
    assert groups.layout_name == layout
    assert groups.names == ("init", "lithos", "lithos.web:app.0", "system", "system.nscd")
    assert {p.pid: p.group for p in machine.scanner.processes.known()} == {
        1: "init",
        10: "system.nscd",
        11: None,
        12: None,
        13: "lithos.web:app.0",
        14: "lithos.web:app.0",
        15: None,
    }
    counted = {name: machine.now(cgroup=name)["cgroup.processes"] for name in groups.names}
    assert counted == {"init": 1, "lithos": 0, "lithos.web:app.0": 2, "system": 0, "system.nscd": 1}
    assert machine.now(cgroup="lithos.web:app.0", pid="13")["num_threads"] == 1
    assert "user.0" not in scanned(made_up, layout).scan().scanner.groups.names


def test_the_user_slice_is_shown_if_asked_for(made_up: MadeUp) -> None:
    make_groups(made_up, "/sys/fs/cgroup", GROUPS)
    machine = scanned(made_up, "v2", include_user_slice=True).scan()
    assert "user.user-0" in machine.scanner.groups.names


@pytest.mark.case("cantal-62")
def test_the_leaf_of_a_lithos_master_belongs_to_its_parent(made_up: MadeUp) -> None:
    groups = {"lithos.slice": [], "lithos.slice/lithos_tree.scope": [5], "lithos.slice/shop:web.0.scope": [6]}
    make_groups(made_up, "/sys/fs/cgroup", groups)
    for group, used in (("", 100), ("/lithos_tree.scope", 10), ("/shop:web.0.scope", 50)):
        made_up.put(f"/sys/fs/cgroup/lithos.slice{group}/memory.current", f"{used}\n")
    machine = scanned(made_up, "v2").scan()
    assert machine.scanner.groups.names == ("lithos", "lithos.shop:web.0")
    assert {p.pid: p.group for p in machine.scanner.processes.known()} == {5: "lithos", 6: "lithos.shop:web.0"}
    assert machine.now(cgroup="lithos")["cgroup.memory.current"] == 100
    assert machine.now(cgroup="lithos")["cgroup.processes"] == 1


def test_groups_made_in_single_controllers_are_seen_too(made_up: MadeUp) -> None:
    make_groups(made_up, "/sys/fs/cgroup/systemd", {"a": [5]})
    make_groups(made_up, "/sys/fs/cgroup/memory", {"a": [], "b": [5, 6]})
    make_groups(made_up, "/sys/fs/cgroup/pids", {"c": [7]})
    machine = scanned(made_up, "hybrid").scan()
    assert {p.pid: p.group for p in machine.scanner.processes.known()} == {5: "a", 6: "b", 7: "c"}


V2_FILES = {
    "cpu.stat": "usage_usec {1}\nuser_usec 20\nsystem_usec 30\nnr_periods 4\nnr_throttled 5\nthrottled_usec 6\n"
    "nr_bursts 7\nburst_usec 8\ncore_sched.force_idle_usec 0\n",
    "cpu.max": "50000 100000\n",
    "cpu.weight": "100\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "max\n",
    "memory.high": "max\n",
    "memory.low": "0\n",
    "memory.swap.current": "12\n",
    "memory.swap.max": "max\n",
    "memory.stat": "anon 1\nfile 2\nkernel 3\nshmem 4\nslab 5\nsock 6\nactive_file 7\ninactive_file 8\nunevictable 9\n"
    "pgfault 10\npgmajfault 11\nworkingset_refault_anon 12\nworkingset_refault_file 13\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill {2}\noom_group_kill 6\n",
    "io.stat": "8:0 rbytes={3} wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"
    "9:9 rbytes=1 wbytes=0 rios=0 wios=0 dbytes=0 dios=0\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "pids.events": "max 2\n",
    "cpu.pressure": "some avg10=1.00 avg60=2.00 avg300=3.00 total={4}\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    "full avg10=0.50 avg60=0.00 avg300=0.00 total=2\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    "cgroup.freeze": "0\n",
}


def own_numbers(machine: Scanned) -> dict[str, object]:
    """Of the group `web` itself: not those of its processes, nor by device."""
    return {name: value for name, value in machine.now(cgroup="web").items() if "," not in name}


@pytest.mark.case("cantal-23")
def test_all_numbers_of_a_v2_group(made_up: MadeUp) -> None:
    def put(*changing: int) -> None:
        for name, text in V2_FILES.items():
            made_up.put(f"/sys/fs/cgroup/web.slice/{name}", text.format(*changing))

    make_groups(made_up, "/sys/fs/cgroup", {"web.slice": [5]})
    put(0, 50, 5, 1, 9)
    machine = scanned(made_up, "v2").scan()
    first = own_numbers(machine)
    expected = {
        "cpu.usage": 50,
        "cpu.user": 20,
        "cpu.system": 30,
        "cpu.periods": 4,
        "cpu.throttled_periods": 5,
        "cpu.throttled_time": 6,
        "cpu.bursts": 7,
        "cpu.burst_time": 8,
        "cpu.quota": 50000,
        "cpu.period": 100000,
        "cpu.weight": 100,
        "memory.current": 4096,
        "memory.peak": 8192,
        "memory.low": 0,
        "memory.swap": 12,
        "memory.stat.anon": 1,
        "memory.stat.file": 2,
        "memory.stat.kernel": 3,
        "memory.stat.shmem": 4,
        "memory.stat.slab": 5,
        "memory.stat.sock": 6,
        "memory.stat.active_file": 7,
        "memory.stat.inactive_file": 8,
        "memory.stat.pgfault": 10,
        "memory.stat.pgmajfault": 11,
        "memory.stat.workingset_refault_anon": 12,
        "memory.stat.workingset_refault_file": 13,
        "memory.events.low": 1,
        "memory.events.high": 2,
        "memory.events.max": 3,
        "memory.events.oom": 4,
        "memory.events.oom_kill": 5,
        "memory.events.oom_group_kill": 6,
        "pids.current": 3,
        "pids.events": 2,
        "pressure.cpu.some.avg10": 1.0,
        "pressure.cpu.some.avg60": 2.0,
        "pressure.cpu.some.avg300": 3.0,
        "pressure.cpu.some.total": 9,
        "pressure.memory.full.avg10": 0.5,
        "pressure.memory.full.total": 2,
        "pressure.io.some.total": 3,
        "processes": 1,
        "frozen": 0,
    }
    shown = {name: first.get(f"cgroup.{name}") for name in expected}
    assert shown == expected
    io = {name.removeprefix("cgroup."): value for name, value in machine.now(cgroup="web", device="sda").items()}
    assert io == {"io.rbytes": 1, "io.wbytes": 2, "io.rios": 3, "io.wios": 4, "io.dbytes": 5, "io.dios": 6}
    assert machine.now(cgroup="web", device="9:9")["cgroup.io.rbytes"] == 1
    assert not {"cgroup.memory.max", "cgroup.memory.high", "cgroup.memory.swap_max", "cgroup.pids.max"} & first.keys()
    kinds = machine.kinds(cgroup="web")
    counters = {f"cgroup.{n}" for n in expected if n.startswith(("memory.events", "pids.events"))} | {
        "cgroup.cpu.usage",
        "cgroup.cpu.throttled_time",
        "cgroup.memory.stat.pgfault",
        "cgroup.pressure.cpu.some.total",
        "cgroup.io.rbytes",
    }
    assert {kinds[name] for name in counters} == {Kind.COUNTER}
    assert kinds["cgroup.memory.current"] is kinds["cgroup.frozen"] is kinds["cgroup.cpu.quota"] is Kind.INTEGER
    assert kinds["cgroup.pressure.cpu.some.avg10"] is Kind.FLOAT

    put(0, 70, 6, 1001, 19)
    second = own_numbers(machine.scan())
    changed = {name for name in first if second[name] != first[name]}
    assert changed == {"cgroup.cpu.usage", "cgroup.memory.events.oom_kill", "cgroup.pressure.cpu.some.total"}
    assert machine.now(cgroup="web", device="sda")["cgroup.io.rbytes"] == 1001


def test_numbers_of_v1_controllers_in_the_units_of_v2(made_up: MadeUp) -> None:
    make_groups(made_up, "/sys/fs/cgroup/systemd", {"web": [5]})
    files = {
        "cpu,cpuacct/web/cpuacct.usage": "5000\n",
        "cpu,cpuacct/web/cpuacct.stat": "user 3\nsystem 4\n",
        "cpu,cpuacct/web/cpu.stat": "nr_periods 1\nnr_throttled 2\nthrottled_time 9000\n",
        "cpu,cpuacct/web/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/web/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/web/cpu.shares": "1024\n",
        "memory/web/memory.usage_in_bytes": "4096\n",
        "memory/web/memory.memsw.usage_in_bytes": "5096\n",
        "memory/web/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/web/memory.memsw.limit_in_bytes": "65536\n",
        "memory/web/memory.failcnt": "3\n",
        "memory/web/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory/web/memory.stat": "rss 1\ntotal_rss 10\ntotal_cache 20\ntotal_pgfault 30\n",
        "blkio/web/blkio.throttle.io_service_bytes_recursive": "8:0 Read 7\n8:0 Write 8\n8:0 Sync 1\nTotal 15\n",
        "blkio/web/blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
        "pids/web/pids.current": "4\n",
        "pids/web/pids.max": "max\n",
        "freezer/web/freezer.state": "FROZEN\n",
    }
    for path, text in files.items():
        made_up.put(f"/sys/fs/cgroup/{path}", text)
        made_up.put(f"/sys/fs/cgroup/{path.split('/')[0]}/cgroup.procs", "")
        made_up.put(f"/sys/fs/cgroup/{path.split('/')[0]}/web/cgroup.procs", "")
    machine = scanned(made_up, "v1").scan()
    found = {name.removeprefix("cgroup."): value for name, value in own_numbers(machine).items()}
    expected = {
        "cpu.usage": 5,
        "cpu.user": 30_000,
        "cpu.system": 40_000,
        "cpu.periods": 1,
        "cpu.throttled_periods": 2,
        "cpu.throttled_time": 9,
        "cpu.period": 100_000,
        "cpu.weight": 1024,
        "memory.current": 4096,
        "memory.swap": 1000,
        "memory.swap_max": 65536,
        "memory.events.max": 3,
        "memory.events.oom_kill": 2,
        "memory.stat.anon": 10,
        "memory.stat.file": 20,
        "memory.stat.pgfault": 30,
        "pids.current": 4,
        "frozen": 1,
        "processes": 1,
    }
    assert found == expected
    io = {name.removeprefix("cgroup.io."): value for name, value in machine.now(cgroup="web", device="sda").items()}
    assert io == {"rbytes": 7, "wbytes": 8, "rios": 1, "wios": 2}


def test_groups_come_and_go(made_up: MadeUp) -> None:
    make_groups(made_up, "/sys/fs/cgroup", {"a.slice": [5]})
    machine = scanned(made_up, "v2").scan()
    make_groups(made_up, "/sys/fs/cgroup", {"b.slice": [5]})
    made_up.put("/sys/fs/cgroup/a.slice/cgroup.procs", "")
    made_up.path("/sys/fs/cgroup/a.slice/cgroup.procs").unlink()
    made_up.path("/sys/fs/cgroup/a.slice").rmdir()
    machine.scan(6)
    assert machine.scanner.groups.names == ("b",)
    assert machine.now(cgroup="a") == {}
    assert [p.group for p in machine.scanner.processes.known()] == ["b"]
