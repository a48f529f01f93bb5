"""What the files about a machine become, on made-up trees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scanned_machine import MadeUp, Scanned, Sleeper, stat_line

from manor.cantal.query.document import parse_document
from manor.cantal.query.encode import to_plain
from manor.cantal.query.evaluate import evaluate
from manor.cantal.sources.file_source import Facts
from manor.cantal.sources.process_stat import parse_stats, parse_status
from manor.cantal.store.series import Kind

STAT = """\
cpu  100 2 30 4000 50 6 7 8 9 10
cpu0 60 1 15 2000 25 3 4 4 5 5
cpu1 40 1 15 2000 25 3 3 4 4 5
intr 12345 1 2 3
ctxt 678
btime 1700000000
processes 99
procs_running 2
procs_blocked 1
softirq 5 1 2
"""
FILES = {
    "/proc/stat": STAT,
    "/proc/uptime": "1000.50 3500.25\n",
    "/proc/loadavg": "0.50 0.25 0.10 3/456 7890\n",
    "/proc/sys/fs/file-nr": "1024\t0\t9223372036854775807\n",
    "/proc/meminfo": (
        "MemTotal:       16384 kB\nActive(anon):      4 kB\nHugePages_Total:       3\nOdd:  5 MB\nCommitted_AS:  7 kB\n"
    ),
    "/proc/vmstat": "nr_free_pages 5\npgfault 11\npgmajfault 12\noom_kill 1\nallocstall_dma 4\npgscan_kswapd 9\n",
    "/proc/pressure/cpu": "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    "/proc/net/dev": (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast"
        "|bytes    packets errs drop fifo colls carrier compressed\n"
        "    lo: 10 11 0 0 0 0 0 0 20 21 0 0 0 0 0 0\n"
        "eth0:1000 1001 1 2 3 4 5 6 2000 2001 7 8 9 10 11 12\n"
    ),
    "/proc/net/netstat": "TcpExt: SyncookiesSent Negative\nTcpExt: 4 -1\n"
    "IpExt: InOctets\nIpExt: 18446744073709551615\n",
    "/proc/net/snmp": (
        "Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 500\n"
        "IcmpMsg: InType3\nIcmpMsg: 7\n"
        "Tcp: RtoMin RtoMax MaxConn CurrEstab InSegs\nTcp: 200 120000 -1 12 900\n"
    ),
    "/proc/net/sockstat": (
        "sockets: used 290\nTCP: inuse 8 orphan 1 tw 2 alloc 9 mem 3\nUDP: inuse 4 mem 1\nRAW: inuse 0\n"
    ),
    "/proc/net/sockstat6": "TCP6: inuse 5\nUDP6: inuse 6\nFRAG6: inuse 0 memory 0\n",
    "/proc/diskstats": (
        "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"
        " 259       0 nvme0n1 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37\n"
        "   1       0 ram0 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"
        "   7       0 loop0 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"
    ),
}


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    machine = MadeUp(tmp_path)
    for path, text in FILES.items():
        machine.put(path, text)
    return machine


def scanned(made_up: MadeUp, facts: Facts | None = None, **options: object) -> Scanned:
    return Scanned(made_up.proc, made_up.sys, facts or Facts(100, 4096), **options)


@pytest.mark.case("cantal-24")
def test_every_file_of_the_machine(made_up: MadeUp) -> None:
    machine = scanned(made_up).scan()
    found = machine.now()
    expected = {
        "uptime": 1000.5,
        "idle_time": 3500.25,
        "open_files": 1024,
        "open_files_max": 2**63 - 1,
        "load_avg_1min": 0.5,
        "load_avg_5min": 0.25,
        "load_avg_15min": 0.1,
        "proc_runnable": 3,
        "proc_total": 456,
        "last_pid": 7890,
        "cpu.user": 100,
        "cpu.nice": 2,
        "cpu.system": 30,
        "cpu.idle": 4000,
        "cpu.iowait": 50,
        "cpu.irq": 6,
        "cpu.softirq": 7,
        "cpu.steal": 8,
        "cpu.guest": 9,
        "cpu.guest_nice": 10,
        "context_switches": 678,
        "interrupts": 12345,
        "forks": 99,
        "procs_running": 2,
        "procs_blocked": 1,
        "memory.MemTotal": 16384 * 1024,
        "memory.Active(anon)": 4096,
        "memory.HugePages_Total": 3,
        "memory.Committed_AS": 7168,
        "vm.pgfault": 11,
        "vm.pgmajfault": 12,
        "vm.oom_kill": 1,
        "vm.allocstall_dma": 4,
        "pressure.cpu.some.avg10": 1.5,
        "pressure.cpu.some.avg60": 0.25,
        "pressure.cpu.some.avg300": 0.0,
        "pressure.cpu.some.total": 123,
        "pressure.cpu.full.total": 7,
        "net.TcpExt.SyncookiesSent": 4,
        "net.IpExt.InOctets": 2**64 - 1,
        "net.Ip.Forwarding": 1,
        "net.Ip.DefaultTTL": 64,
        "net.Ip.InReceives": 500,
        "net.Tcp.CurrEstab": 12,
        "net.Tcp.MaxConn": -1,
        "net.Tcp.InSegs": 900,
        "net.sockets.used": 290,
        "net.sockets.tcp.inuse": 13,
        "net.sockets.tcp.orphan": 1,
        "net.sockets.tcp.tw": 2,
        "net.sockets.tcp.alloc": 9,
        "net.sockets.tcp.mem": 3 * 4096,
        "net.sockets.udp.inuse": 10,
        "net.sockets.udp.mem": 4096,
    }
    assert {name: found.get(name) for name in expected} == expected
    left_out = {"net.TcpExt.Negative", "net.IcmpMsg.InType3", "memory.Odd", "vm.nr_free_pages", "vm.pgscan_kswapd"}
    assert not left_out & found.keys()
    assert machine.scanner.machine.errors == {}
    disk = machine.now(device="sda")
    assert [disk[f"disk.read.{n}"] for n in ("ops", "merges", "bytes", "time")] == [1, 2, 3 * 512, 4]
    assert [disk[f"disk.write.{n}"] for n in ("ops", "merges", "bytes", "time")] == [5, 6, 7 * 512, 8]
    assert [disk[f"disk.{n}"] for n in ("in_progress", "time", "weighted_time")] == [9, 10, 11]
    assert [disk[f"disk.discard.{n}"] for n in ("ops", "merges", "bytes", "time")] == [12, 13, 14 * 512, 15]
    assert [disk[f"disk.flush.{n}"] for n in ("ops", "time")] == [16, 17]
    assert machine.now(device="nvme0n1")["disk.read.ops"] == 21
    assert machine.now(device="ram0") == machine.now(device="loop0") == {}
    eth0 = machine.now(interface="eth0")
    assert eth0["net.interface.rx.bytes"] == 1000 and eth0["net.interface.rx.multicast"] == 6
    assert eth0["net.interface.tx.bytes"] == 2000 and eth0["net.interface.tx.carrier"] == 11
    kinds = machine.kinds()
    assert kinds["cpu.user"] is kinds["net.Tcp.InSegs"] is kinds["vm.pgfault"] is Kind.COUNTER
    assert kinds["net.Tcp.CurrEstab"] is kinds["procs_running"] is kinds["memory.MemTotal"] is Kind.INTEGER
    assert kinds["pressure.cpu.some.avg10"] is kinds["uptime"] is Kind.FLOAT
    assert kinds["pressure.cpu.some.total"] is Kind.COUNTER


@pytest.mark.case("cantal-25")
def test_ticks_of_another_kernel_are_scaled(made_up: MadeUp) -> None:
    made_up.process(7, utime=500, stime=50)
    machine = scanned(made_up, Facts(250, 4096)).scan()
    assert machine.now()["cpu.user"] == 40 and machine.now()["cpu.idle"] == 1600
    assert machine.now(pid="7")["user_time"] == 200 and machine.now(pid="7")["system_time"] == 20


def test_cores_are_counted_apart_if_asked_for(made_up: MadeUp) -> None:
    assert scanned(made_up).scan().now(core="1") == {}
    found = scanned(made_up, Facts(100, 4096, per_core=True)).scan().now(core="1")
    assert found["core.user"] == 40 and found["core.guest_nice"] == 5


def test_devices_come_and_go(made_up: MadeUp) -> None:
    machine = scanned(made_up).scan()
    lines = FILES["/proc/net/dev"].splitlines(keepends=True)
    made_up.put("/proc/net/dev", "".join([*lines[:2], lines[3].replace("eth0", "eth1")]))
    machine.scan()
    assert machine.now(interface="eth0") == machine.now(interface="lo") == {}
    assert machine.now(interface="eth1")["net.interface.rx.bytes"] == 1000


def test_a_file_in_an_unknown_shape_gives_nothing_and_is_counted(made_up: MadeUp) -> None:
    machine = scanned(made_up).scan()
    made_up.put("/proc/loadavg", "who knows\n")
    machine.scan(2)
    assert "load_avg_1min" not in machine.now() and machine.now()["uptime"] == 1000.5
    assert machine.now(group="cantal", appname="cantal", source="load")["scan.errors"] >= 1
    made_up.put("/proc/loadavg", FILES["/proc/loadavg"])
    assert machine.scan().now()["load_avg_1min"] == 0.5


class TestProcesses:
    def test_eight_numbers_each(self, made_up: MadeUp) -> None:
        made_up.process(7, vsize=8192, rss=3, threads=2, utime=5, stime=6)
        made_up.put(
            "/proc/7/io",
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n",
        )
        made_up.process(8)
        machine = scanned(made_up).scan()
        assert machine.now(pid="7") == {
            "vsize": 8192,
            "rss": 3 * 4096,
            "swap": 4096,
            "num_threads": 2,
            "user_time": 5,
            "system_time": 6,
            "read_bytes": 5,
            "write_bytes": 6,
        }
        assert "read_bytes" not in machine.now(pid="8"), "its io file cannot be read"
        assert machine.now(pid="8")["num_threads"] == 1

    def test_a_process_may_call_itself_anything(self) -> None:
        found = parse_stats([stat_line(1, "a) R (b\nx", "Z", ppid=9).encode(), b"", b"7 (half", stat_line(2).encode()])
        assert (found.names, found.states, found.good) == ([b"a) R (b\nx", b"prog"], ["Z", "S"], [0, 3])
        assert found.numbers[:, 0].tolist() == [9, 1]

    def test_facts_of_the_status_file(self) -> None:
        text = b"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nVmSwap:\t  12 kB\nNSpid:\t100\t3\n"
        status = parse_status(text)
        assert (status.uids, status.gids, status.groups) == ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10))
        assert (status.swap_bytes, status.inner_pid) == (12288, 3)
        assert parse_status(b"Name:\tkthread\n").swap_bytes == 0

    @pytest.mark.case("cantal-34")
    def test_no_rate_spans_a_pid_that_is_used_again(self, made_up: MadeUp) -> None:
        made_up.process(7, start=1000, utime=10)
        machine = scanned(made_up).scan()
        made_up.process(7, start=1000, utime=14)
        machine.scan()
        made_up.process(7, "other", start=2000, utime=50)
        machine.scan()
        made_up.process(7, "other", start=2000, utime=54)
        machine.scan()
        rule = {
            "series": {"source": "Fine", "condition": ["Eq", "metric", "user_time"]},
            "extract": ["HistoryByNum", 9],
        }
        for function in ("NonNegativeDerivative", "Derivative"):
            document = parse_document({"rules": {"q": {**rule, "functions": [[function]]}}})
            (one,) = to_plain(evaluate(document, machine.store.view()), 0, 0)["values"]["q"]["series"]
            assert one["values"] == [2.0, None, 2.0]
        (process,) = machine.scanner.processes.known()
        assert (process.name, process.start) == ("other", 2000)

    def test_a_process_that_ends_has_no_numbers_any_more(self, made_up: MadeUp) -> None:
        made_up.process(7)
        machine = scanned(made_up).scan()
        made_up.put("/proc/7/stat", "")  # what a kept descriptor of a dead process amounts to
        assert machine.scan().now(pid="7") == {} and machine.scanner.processes.known() == ()

    @pytest.mark.case("cantal-20")
    def test_a_strange_name_on_the_real_machine(self) -> None:
        script = (
            "import ctypes, sys, time\n"
            "ctypes.CDLL(None).prctl(15, b'a) R (b\\n)', 0, 0, 0)\n"
            "print('ready', flush=True)\n"
            "time.sleep(600)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            machine = Scanned().scan()
            (mine,) = (p for p in machine.scanner.processes.known() if p.pid == process.pid)
            row = machine.scanner.processes.table.processes.index(mine)
            table = machine.scanner.processes.table
            assert mine.name == "a) R (b\n)"
            assert table.states[row] in "SRD" and table.numbers[row, 0] == os.getpid()
            text = Path(f"/proc/{process.pid}/stat").read_text()
            fields = text[text.rindex(")") + 2 :].split()
            found = machine.now(pid=str(process.pid))
            assert mine.start == int(fields[19])
            assert found["vsize"] == int(fields[20]) and found["rss"] == int(fields[21]) * 4096
            assert abs(found["user_time"] - int(fields[11])) <= 1
        finally:
            process.kill()
            process.wait()

    @pytest.mark.case("cantal-19")
    def test_nobody_is_missed_while_others_come_and_go(self) -> None:
        script = (
            "import os, signal, sys, time\n"
            "pids = []\n"
            "for _ in range(1000):\n"
            "    pid = os.fork()\n"
            "    if not pid:\n"
            "        signal.pause()\n"
            "    pids.append(pid)\n"
            "print(*pids, flush=True)\n"
            "try:\n"
            "    while True:\n"
            "        if not os.fork():\n"
            "            os._exit(0)\n"
            "        os.wait()\n"
            "        time.sleep(0.005)\n"
            "finally:\n"
            "    for pid in pids:\n"
            "        os.kill(pid, 9)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            sleeping = set(map(int, process.stdout.readline().split()))
            assert len(sleeping) == 1000
            machine = Scanned()
            for _ in range(50):
                machine.scan()
                assert sleeping <= {p.pid for p in machine.scanner.processes.known()}
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def test_without_room_for_descriptors_the_youngest_are_opened_each_time(made_up: MadeUp) -> None:
    for pid in range(1, 6):
        made_up.process(pid)
    machine = scanned(made_up)
    machine.scanner.processes._fds.left = 3
    machine.scan(2)
    assert machine.scanner.processes.uncached >= 2
    assert [pid for pid in range(1, 6) if machine.now(pid=str(pid))] == [1, 2, 3, 4, 5]


def test_a_sleeper_shows_what_it_is() -> None:
    with Sleeper() as program:
        machine = Scanned().scan(2)
        (process,) = (p for p in machine.scanner.processes.known() if str(p.pid) == program.pid)
        assert process.command_line == "sleep\x00600\x00" and process.name == "sleep"
        assert process.io_available


def test_file_systems_and_temperatures_are_read_aside_and_repeated(made_up: MadeUp) -> None:
    made_up.put(
        "/proc/self/mountinfo",
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 1 8:1 /x /mnt rw - ext4 /dev/sda1 rw\n"
        "22 1 0:9 / /tmp rw - tmpfs tmpfs rw\n",
    )
    made_up.put("/sys/class/thermal/thermal_zone0/temp", "45500\n")
    machine = scanned(made_up).scan()
    reader = machine.scanner.slow._reader
    assert reader is not None
    reader.join(20)
    machine.scan(2)
    assert machine.now(zone="0") == {"temperature": 45.5}
    disk = machine.now(mount="/", device="sda1")
    assert (
        disk["fs.total"] >= disk["fs.free"] >= disk["fs.available"] >= 0 and disk["fs.files"] >= disk["fs.files_free"]
    )
    assert machine.now(mount="/mnt", device="sda1") == machine.now(mount="/tmp", device="tmpfs") == {}
