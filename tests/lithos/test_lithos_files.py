"""Files that lithos keeps for itself and for others: records, status, metrics, logs, locks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manor.config.loader import ConfigError
from manor.lithos import config_log, process_config
from manor.lithos.commands.mkdev import main as mkdev
from manor.lithos.containers.notify import parse_notices
from manor.lithos.errors import Fatal, RecordError
from manor.lithos.files.names import InstanceName
from manor.lithos.files.record import Record, RecordStore, decode_record, encode_record
from manor.lithos.files.status import MasterStatus, read_status
from manor.lithos.logs import LogFile, Logs, format_line
from manor.lithos.master_lock import MasterLock, running_master
from manor.lithos.metrics import Metrics, Number, read_values
from manor.lithos.probing import parse_status_line, waits_to_be_accepted
from manor.lithos.processes_shown.scan import Shown, Tree, Usage
from manor.lithos.processes_shown.text import Paint, size, table, tree_lines, uptime
from manor.lithos.status_publisher import write_status
from manor.lithos.supervision.messages import Notice

RECORD = Record(name="shop/web.0", owner="master", config="{}", id="shop+web.0", state="running", boot_id="b")


# --- configs ----------------------------------------------------------------------------------------------------------


def test_an_empty_master_config_means_all_defaults(tmp_path: Path) -> None:
    file = tmp_path / "master.yaml"
    file.write_text("")
    config = process_config.read_master(file).value
    places = process_config.Places.of(config, file)
    assert config.controllers == ("name", "cpu", "cpuacct", "memory", "blkio")
    assert places.sandboxes == tmp_path / "sandboxes"
    assert places.state == Path("/run/lithos/state")
    assert config.cgroup_name == "lithos.slice"


def test_null_is_another_thing_than_nothing() -> None:
    from manor.config.dialect import LITHOS
    from manor.config.loader import load

    config = load(b"devfs-dir:\ncgroup-name: ~\nconfig-log-dir: null\n", "m", process_config.MasterConfig, LITHOS).value
    assert (config.devfs_dir, config.cgroup_name, config.config_log_dir) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runtime-dir: run", 'the path "run" is relative'),
        ("log-level: loud", "write error, warn, info, debug or trace"),
        ("cgroup-name: /x", "is no group below the root"),
        ("cgroup-name: a/../b", "is no group below the root"),
        ("cgroup-controllers: [memory, magic]", "unknown controller `magic`"),
        ("syslog-facility: daemon", "`syslog-facility` is not supported yet"),
        ("oci-runtime: podman", "write auto, runc, crun or an absolute path"),
        ("a: 1\nb: 2", "unknown keys: a, b"),
    ],
)
def test_wrong_master_configs(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "master.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        process_config.read_master(file)
    assert expected in str(refused.value) and str(refused.value).startswith(f"{file}:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("volumes: {/x: !Disk {}}", "known: `!Persistent`, `!Readonly`, `!Statedir`, `!Tmpfs`"),
        ("volumes: {x: !Tmpfs {}}", "mount point `x` is relative"),
        ("volumes: {/a/../b: !Tmpfs {}}", "has `..`"),
        ("volumes: {/proc/: !Tmpfs {}}", "is reserved"),
        ("volumes: {/x: !Tmpfs {}, /x/: !Tmpfs {}}", "is given twice"),
        ("volumes: {/x: !Readonly /a/../b}", "without `..`"),
        ("fileno-limit: lots", 'not a number: "lots"'),
        ("kill-timeout: 100000", "100000 is above the maximum 86400"),
        ("uid-map: [{inside: 0, outside: 1, count: 5}]", "`uid-map` stands without `gid-map`"),
        ("environ: {'A=B': x}", "cannot name an environment variable"),
        ("stop-signal: STOP", "unknown signal `STOP`"),
        ("normal-exit-codes: [256]", "256 is above the maximum 255"),
        ("readiness: {}", "a probe has exactly one of"),
        ("readiness: {exec: [true]}", "first item is an absolute path"),
        ("interactive: yes", "write `true` or `false`"),
    ],
)
def test_wrong_container_configs(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        process_config.parse_container(f"executable: /bin/x\n{text}\n".encode(), "/config/web.yaml")
    assert expected in str(refused.value)
    assert re.match(r"/config/web\.yaml:[12]:\d+: Validation Error: ", str(refused.value))


def test_names_of_processes_and_instances() -> None:
    with pytest.raises(ConfigError, match="which is kept for commands"):
        process_config.parse_processes(b"cmd.x: {image: a, config: /c}", "p")
    with pytest.raises(ConfigError, match="has other characters"):
        process_config.parse_processes(b"a/b: {image: a, config: /c}", "p")
    name = InstanceName.parse("shop/web.v2.10")
    assert (name.sandbox, name.process, name.index) == ("shop", "web.v2", 10)
    assert (name.container_id, name.cgroup) == ("shop+web.v2.10", "shop:web.v2.10.scope")
    with pytest.raises(ValueError, match="is not an instance name"):
        InstanceName.parse("shop")


# --- records and status -----------------------------------------------------------------------------------------------


def test_a_record_survives_and_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(RECORD)
    assert store.read("shop+web.0") == RECORD
    newer = json.loads(encode_record(RECORD)) | {"version": 2, "colour": "blue"}
    read = decode_record(json.dumps(newer).encode(), tmp_path)
    assert read.unknown == {"colour": "blue"}
    assert json.loads(encode_record(read))["colour"] == "blue"


def test_what_is_no_record_is_named_and_hides_no_other(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(RECORD)
    (tmp_path / "broken.json").write_text('{"name": 5}')
    records, errors = store.read_all()
    assert records == [RECORD]
    assert [str(error).startswith(f"{tmp_path}/broken.json:1:1: ") for error in errors] == [True]
    with pytest.raises(RecordError):
        store.read("broken")


def test_status_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    assert read_status(path) is None
    status = MasterStatus(written=1, boot_id="b", master=5, instances=())
    write_status(path, status)
    assert read_status(path) == status
    path.write_text('{"version": 2, "written": 1, "boot_id": "b", "master": 5, "instances": []}')
    with pytest.raises(ValueError, match="version 2"):
        read_status(path)


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_lines_and_eight_bytes_each(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics", ["shop/web"])
    lines = (tmp_path / "metrics.meta").read_text().splitlines()
    assert lines[0] == 'counter 8: {"group":"master","metric":"restarts"}'
    assert 'level 8 signed: {"group":"processes.shop.web","metric":"running"}' in lines
    assert (tmp_path / "metrics.values").stat().st_size == 4096
    metrics.count("shop/web", "deaths")
    metrics.count("shop/gone", "deaths")
    metrics.set_levels({"queue": 3, "running": 2, "shop/web ready": -1})
    values = read_values(tmp_path / "metrics.meta", tmp_path / "metrics.values")
    assert values[Number(True, "processes.shop.web", "deaths")] == 1
    assert values[Number(True, "containers", "deaths")] == 2
    assert values[Number(False, "master", "queue")] == 3
    assert values[Number(False, "processes.shop.web", "ready")] == -1
    metrics.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_counters_go_on_and_the_same_lines_keep_the_same_file(tmp_path: Path) -> None:
    first = Metrics(tmp_path / "metrics", ["shop/web"])
    first.count("shop/web", "started")
    first.close(remove=False)
    inode = (tmp_path / "metrics.values").stat().st_ino
    second = Metrics(tmp_path / "metrics", ["shop/web"])
    assert (tmp_path / "metrics.values").stat().st_ino == inode
    second.close(remove=False)
    third = Metrics(tmp_path / "metrics", ["shop/web", "shop/api"])
    third.count("shop/web", "started")
    assert (tmp_path / "metrics.values").stat().st_ino != inode
    values = read_values(tmp_path / "metrics.meta", tmp_path / "metrics.values")
    assert values[Number(True, "processes.shop.web", "started")] == 2


# --- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_line_is_one_line_and_levels_are_kept(tmp_path: Path) -> None:
    assert format_line("warn", "a\nb", now=1772360980.9) == "[2026-03-01T10:29:40Z][WARN] a | b\n"
    logs = Logs(
        LogFile(tmp_path / "master.log", "warn"), {"shop": LogFile(tmp_path / "shop.log", "debug")}, to_stderr=False
    )
    logs.say("info", "quiet", "shop")
    logs.say("error", "loud", "shop")
    logs.say("error", "elsewhere")
    assert [line[22:] for line in (tmp_path / "master.log").read_text().splitlines()] == [
        "[ERROR] loud",
        "[ERROR] elsewhere",
    ]
    assert "[test_lithos_files.py:" in (tmp_path / "shop.log").read_text()


def test_a_log_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", "info")
    log.write("one\n")
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    log.write("two\n")
    (tmp_path / "a.log").unlink()
    log.write("three\n")
    assert (tmp_path / "a.log").read_text() == "three\n"
    assert (tmp_path / "a.log.1").read_text() == "one\n"


def test_the_config_log_rotates(tmp_path: Path) -> None:
    path = tmp_path / "shop.log"
    for number in (1, 2):
        path.write_bytes(b"%d" % number + b"x" * config_log.ROTATE_ABOVE_BYTES)
        config_log.append(tmp_path, "shop", {})
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \{\}\n", path.read_text())
    assert (tmp_path / "shop.log.1").read_bytes().startswith(b"2x")
    assert (tmp_path / "shop.log.2").read_bytes().startswith(b"1x")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_lock_is_what_says_that_a_master_lives(tmp_path: Path) -> None:
    path = tmp_path / "master.pid"
    assert running_master(path) is None
    path.write_text("1\n")
    assert running_master(path) is None, "a pid alone means nothing"
    lock = MasterLock.take(path)
    other = (
        f"from pathlib import Path; from manor.lithos.master_lock import *; print(running_master(Path({str(path)!r})))"
    )
    assert subprocess.run([sys.executable, "-c", other], capture_output=True, text=True).stdout == f"{os.getpid()}\n"
    take = f"from pathlib import Path; from manor.lithos.master_lock import *; MasterLock.take(Path({str(path)!r}))"
    refused = subprocess.run([sys.executable, "-c", take], capture_output=True, text=True)
    assert f"another lithos_tree (pid {os.getpid()}) is running" in refused.stderr and Fatal.__name__ in refused.stderr
    lock.release()
    assert not path.exists()


def test_mkdev_makes_the_devices(tmp_path: Path) -> None:
    assert mkdev([str(tmp_path / "dev")]) == 0
    found = os.stat(tmp_path / "dev/null")
    assert (os.major(found.st_rdev), os.minor(found.st_rdev), found.st_mode & 0o777) == (1, 3, 0o666)
    assert os.readlink(tmp_path / "dev/ptmx") == "pts/ptmx"
    assert (tmp_path / "dev/.lithos-init").read_bytes() == b""


def test_small_readers() -> None:
    assert parse_notices(b"STATUS=x\nREADY=1\nWATCHDOG=1") == [Notice.READY, Notice.WATCHDOG]
    assert parse_status_line(b"HTTP/1.1 204 No Content\r\n") == 204
    for bad in (b"", b"SSH-2.0\r\n", b"HTTP/1.1 abc\r\n"):
        with pytest.raises(ValueError, match="not HTTP"):
            parse_status_line(bad)
    header = "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode\n"
    row = "   1: 0100007F:1F40 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 {} 1\n"
    assert waits_to_be_accepted(header + row.format(0), 8000, 50000)
    assert not waits_to_be_accepted(header + row.format(77), 8000, 50000)
    assert not waits_to_be_accepted(header + row.format(0), 8000, 50001)


def test_ps_draws_a_tree() -> None:
    def usage(pid: int, processes: int, threads: int, megabytes: float, started: int) -> Usage:
        return Usage(
            pid=pid,
            processes=processes,
            threads=threads,
            mem_rss=int(megabytes * 2**20),
            mem_swap=0,
            start_time=started,
            user_time=10,
            system_time=0,
            child_user_time=0,
            child_system_time=0,
        )

    def shown(name: str, init: int, *heads: Usage) -> Shown:
        return Shown(name=InstanceName.parse(name), init_pid=init, main_pid=None, state="ready", heads=heads)

    instances = (
        shown("search/index.0", 4200),
        shown("shop/mail.0", 4139, usage(4140, 1, 1, 8.1, 0)),
        shown("shop/web.0", 4119, usage(4120, 2, 6, 55.2, 1_036_800 - 7381)),
        shown("shop/web.1", 4130, usage(4131, 2, 6, 54.8, 1_036_800 - 25)),
    )
    tree = Tree(pid=4012, config="/etc/lithos/master.yaml", instances=instances)
    assert "\n".join(tree_lines(tree, Paint(on=False), 1_036_800)) == (
        "4012 tree /etc/lithos/master.yaml [5/13] 118.1MiB\n"
        "  ├─search [0/0] 0B\n"
        "  │   └─(4200) search/index.0 <failing>\n"
        "  └─shop [5/13] 118.1MiB\n"
        "      ├─4140 shop/mail.0 12days [1/1] 8.1MiB\n"
        "      └─web [4/12] 110.0MiB\n"
        "          ├─4120 shop/web.0 2h3m1s [2/6] 55.2MiB\n"
        "          └─4131 shop/web.1 25s [2/6] 54.8MiB"
    )
    lines, ticks = table([tree], {4119: 5}, 1.0)
    assert lines[0].split() == ["PID", "NAME", "CPU", "THR", "PRC", "MEM(MiB)"]
    assert lines[3].split() == ["4120", "shop/web.0", "5.0", "6", "2", "55.2"]
    assert ticks[4200] == 0


def test_sizes_and_uptimes() -> None:
    assert [size(n) for n in (0, 1023, 1024, 2**20, 3 * 2**30)] == ["0B", "1023B", "1.0kiB", "1.0MiB", "3.0GiB"]
    assert [uptime(s) for s in (59, 60, 3600, 90061, 3 * 86400)] == ["59s", "1m0s", "1h0m0s", "1d1h1m", "3days"]
