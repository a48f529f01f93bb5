"""Values that real processes publish, as a scanner of the real machine finds them."""

from __future__ import annotations

import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scanned_machine import Scanned, Sleeper, counters, write_pair

from manor.cantal.query.document import parse_document
from manor.cantal.query.encode import to_plain
from manor.cantal.query.evaluate import evaluate


@pytest.fixture
def machine() -> Scanned:
    return Scanned()


def defects(machine: Scanned, pid: str) -> list[tuple[str, int | None]]:
    return [(d.defect, d.line) for d in machine.scanner.values.defects() if str(d.pid) == pid]


@pytest.mark.case("cantal-07")
def test_every_type_is_read_as_it_was_written(machine: Scanned, tmp_path: Path) -> None:
    path = tmp_path / "app"
    meta = """\
counter 8: {"metric": "c"}
level 8 signed: {"metric": "signed"}
level 8 unsigned: {"metric": "unsigned"}
level 8 float: {"metric": "float"}
level 8: {"metric": "plain"}
state 64: {"metric": "state"}
pad 5
gauge 16: {"metric": "gauge"}
counter 8: {"metric": "after"}"""
    values = struct.pack("=QqQdqQ56s5x16xQ", 97, -3, 2**63 + 5, math.nan, -1, 1500, b"busy", 5)
    write_pair(path, meta, values)
    with Sleeper(CANTAL_PATH=str(path)) as program:
        machine.scan()
        found = machine.now(pid=program.pid)
        numbers = {name: found[name] for name in ("c", "signed", "unsigned", "plain", "after")}
        assert numbers == {"c": 97, "signed": -3, "unsigned": 2**63 - 1, "plain": -1, "after": 5}
        assert math.isnan(found["float"])
        assert "gauge" not in found
        assert machine.states()["state"] == (1500, "busy")


@pytest.mark.case("cantal-08")
def test_states_have_text_and_time_and_no_history(machine: Scanned, tmp_path: Path) -> None:
    write_pair(
        tmp_path / "app",
        'state 16: {"metric": "one"}\nstate 12: {"metric": "two"}',
        struct.pack("=Q8sQ4s", 1500, b"abc\0left", 1600, b"\xff\xfe\xfd\xfc"),
    )
    with Sleeper(CANTAL_PATH=str(tmp_path / "app")) as program:
        machine.scan()
        assert machine.states() == {"one": (1500, "abc"), "two": (1600, "\ufffd" * 4)}
        rules = {"rules": {"q": {"series": {"source": "Fine", "condition": ["Eq", "pid", program.pid]}}}}
        tips = to_plain(evaluate(parse_document(rules), machine.store.view()), 0, 0)["values"]["q"]["tips"]
        assert tips and not {"one", "two"} & {tip["key"]["metric"] for tip in tips}


@pytest.mark.case("cantal-09")
def test_a_malformed_description_is_named_and_hurts_nobody_else(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "bad", 'counter 8: {"metric": "a"}\npad 8\ncounter x: {}', counters(1, 2, 3))
    write_pair(tmp_path / "good", 'counter 8: {"metric": "a"}', counters(7))
    with Sleeper(CANTAL_PATH=str(tmp_path / "bad")) as bad, Sleeper(CANTAL_PATH=str(tmp_path / "good")) as good:
        machine.scan()
        assert "a" not in machine.now(pid=bad.pid)
        assert machine.now(pid=good.pid)["a"] == 7
        ((text, line),) = defects(machine, bad.pid)
        assert line == 3 and "cannot be read" in text
        assert defects(machine, good.pid) == []


@pytest.mark.case("cantal-10")
def test_files_shorter_and_longer_than_described(machine: Scanned, tmp_path: Path) -> None:
    meta = "\n".join(f'counter 8: {{"metric": "{name}"}}' for name in "abc")
    write_pair(tmp_path / "short", meta, counters(1, 2, 3)[:-1])
    write_pair(tmp_path / "long", meta, counters(4, 5, 6).ljust(4096, b"\xff"))
    with Sleeper(CANTAL_PATH=str(tmp_path / "short")) as short, Sleeper(CANTAL_PATH=str(tmp_path / "long")) as long:
        machine.scan(2)
        found = machine.now(pid=short.pid)
        assert (found["a"], found["b"], found.get("c")) == (1, 2, None)
        found = machine.now(pid=long.pid)
        assert (found["a"], found["b"], found["c"]) == (4, 5, 6)
        assert machine.now(group="cantal", appname="cantal")["values.short_files"] >= 1


@pytest.mark.case("cantal-11")
def test_a_shared_file_belongs_to_the_oldest_and_passes_on_when_it_dies(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "app", 'counter 8: {"metric": "shared"}', counters(7))
    programs = [Sleeper(CANTAL_PATH=str(tmp_path / "app"))]
    try:
        for _ in range(2):
            time.sleep(0.02)  # so that the start times, in 1/100 s, differ
            programs.append(Sleeper(CANTAL_PATH=str(tmp_path / "app")))
        machine.scan()
        for oldest in list(programs):
            assert [p.pid for p in programs if "shared" in machine.now(pid=p.pid)] == [oldest.pid]
            programs.pop(0).kill()
            machine.scan(2)
        assert machine.now(metric="shared") == {}
    finally:
        for program in programs:
            program.kill()


def unshared(*command: str) -> list[str]:
    """A process in its own mount and pid namespace."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", *command]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.02)


@pytest.mark.case("cantal-12")
@pytest.mark.system
def test_programs_in_containers_are_found_as_they_see_their_files(
    machine: Scanned, tmp_path: Path, container: list[subprocess.Popen[bytes]]
) -> None:
    ready = tmp_path / "ready"
    script = f"""
mount -t tmpfs tmpfs /run
write() {{
    printf '%s' "counter 8: {{\\"metric\\": \\"$2\\"}}" > $1.meta
    printf '\\{"1"}\\0\\0\\0\\0\\0\\0\\0' > $1.values
}}
write /run/m master
sleep 600 & echo $! > /run/a
sleep 600 & echo $! > /run/b
write /run/m.$(cat /run/a) worker
write /run/m.$(cat /run/b) worker
: > {ready}
wait
"""
    process = subprocess.Popen(unshared(script), env={"PATH": os.environ["PATH"], "CANTAL_PATH": "/run/m"})
    container.append(process)
    wait_for(ready)
    machine.scan()
    found = machine.now(metric="master")
    assert list(found.values()) == [1]
    inner = int(subprocess.check_output(["pgrep", "-P", str(process.pid)]).split()[0])
    assert list(found) in ([f"pid={process.pid}"], [f"pid={inner}"]), "under a pid of the host"
    workers = set(subprocess.check_output(["pgrep", "-P", str(inner)]).decode().split())
    assert {key.removeprefix("pid=") for key in machine.now(metric="worker")} == workers


@pytest.mark.case("cantal-13")
@pytest.mark.system
def test_a_link_does_not_lead_out_of_the_process_s_root(
    machine: Scanned, tmp_path: Path, container: list[subprocess.Popen[bytes]]
) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    (root / "run").mkdir(parents=True)
    (root / "bin").mkdir()
    secret.write_bytes(counters(4242424242))
    (root / "run/m.meta").write_text('counter 8: {"metric": "stolen"}')
    (root / "run/m.values").symlink_to(secret)
    for directory in ("lib", "lib64", "usr"):
        (root / directory).mkdir()
    script = (
        f"for d in lib lib64 usr bin; do [ -d /$d ] && mount --bind /$d {root}/$d; done; exec chroot {root} sleep 600"
    )
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], env={"PATH": os.environ["PATH"], "CANTAL_PATH": "/run/m"}
    )
    container.append(process)
    until = time.monotonic() + 20
    while os.readlink(f"/proc/{process.pid}/root") != str(root):
        assert time.monotonic() < until
        time.sleep(0.02)
    machine.scan()
    assert machine.now(metric="stolen") == {}
    ((text, _line),) = defects(machine, str(process.pid))
    assert "symbolic link" in text


@pytest.mark.case("cantal-14")
def test_what_is_no_readable_file_is_refused_without_waiting(machine: Scanned, tmp_path: Path) -> None:
    for name in ("fifo", "device", "foreign"):
        (tmp_path / f"{name}.meta").write_text('counter 8: {"metric": "x"}')
    os.mkfifo(tmp_path / "fifo.values")
    os.mknod(tmp_path / "device.values", 0o20666, os.makedev(1, 8))  # /dev/random
    (tmp_path / "foreign.values").write_bytes(counters(1))
    os.chmod(tmp_path / "foreign.values", 0o600)
    os.chmod(tmp_path, 0o755)
    programs = {
        name: subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "600"],
            env={"PATH": os.environ["PATH"], "CANTAL_PATH": str(tmp_path / name)},
        )
        for name in ("fifo", "device", "foreign")
    }
    try:
        for process in programs.values():
            until = time.monotonic() + 20
            while "setpriv" in Path(f"/proc/{process.pid}/cmdline").read_text():
                assert time.monotonic() < until
                time.sleep(0.02)
        machine.scan(2)
        assert machine.now(metric="x") == {}
        told = {name: defects(machine, str(process.pid)) for name, process in programs.items()}
        assert told == {
            "fifo": [("not a regular file", None)],
            "device": [("not a regular file", None)],
            "foreign": [("the process itself may not read it", None)],
        }
    finally:
        for process in programs.values():
            process.kill()
            process.wait()


@pytest.mark.case("cantal-15")
def test_a_file_that_changes_its_length_all_the_time_does_no_harm(machine: Scanned, tmp_path: Path) -> None:
    meta = "\n".join(f'counter 8: {{"metric": "n{i}"}}' for i in range(1000))
    write_pair(tmp_path / "wild", meta, bytes(8000))
    write_pair(tmp_path / "calm", 'counter 8: {"metric": "calm"}', counters(7))
    over = threading.Event()

    def truncate_and_grow() -> None:
        with open(tmp_path / "wild.values", "r+b") as file:
            while not over.is_set():
                file.truncate(0)
                file.truncate(8000)

    writer = threading.Thread(target=truncate_and_grow)
    with Sleeper(CANTAL_PATH=str(tmp_path / "wild")), Sleeper(CANTAL_PATH=str(tmp_path / "calm")) as calm:
        writer.start()
        try:
            machine.scan(100)
        finally:
            over.set()
            writer.join()
        frame = machine.store.since(0, parse_document(rule_for(calm.pid, "calm")).rules["q"].condition)
        assert frame.present.shape == (100, 1) and frame.present.all()


def rule_for(pid: str, metric: str) -> dict[str, object]:
    condition = ["And", ["Eq", "pid", pid], ["Eq", "metric", metric]]
    rule = {
        "series": {"source": "Fine", "condition": condition},
        "extract": ["HistoryByNum", 100],
        "functions": [["NonNegativeDerivative"]],
    }
    return {"rules": {"q": rule}}


def rates(machine: Scanned, pid: str, metric: str) -> list[float | None]:
    answer = to_plain(evaluate(parse_document(rule_for(pid, metric)), machine.store.view()), 0, 0)
    (one,) = answer["values"]["q"]["series"]
    values: list[float | None] = one["values"]
    return values


@pytest.mark.case("cantal-16")
def test_a_file_cannot_claim_another_pid_or_group(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "app", 'counter 8: {"metric": "m", "pid": "1", "cgroup": "x"}', counters(5))
    with Sleeper(CANTAL_PATH=str(tmp_path / "app"), CANTAL_APPNAME="shop") as program:
        machine.scan()
        (process,) = (p for p in machine.scanner.processes.known() if str(p.pid) == program.pid)
        own = {"cgroup": process.group} if process.group else {"appname": "shop"}
        expected = {"metric": "m", "pid": program.pid, "exported_pid": "1", "exported_cgroup": "x", **own}
        assert machine.now(**expected) == {"": 5}


@pytest.mark.case("cantal-17")
def test_a_program_that_replaces_another_in_the_same_pid_is_asked_anew(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "app", 'counter 8: {"metric": "m"}', counters(5))
    go = tmp_path / "go"
    os.mkfifo(go)
    process = subprocess.Popen(
        ["sh", "-c", f"read x < {go}; CANTAL_PATH={tmp_path}/app exec sleep 600"], env={"PATH": os.environ["PATH"]}
    )
    try:
        machine.scan(3)
        assert "m" not in machine.now(pid=str(process.pid))
        go.write_text("go\n")
        until = time.monotonic() + 20
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < until
            time.sleep(0.02)
        machine.scan(2)
        assert machine.now(pid=str(process.pid))["m"] == 5
    finally:
        process.kill()
        process.wait()


@pytest.mark.case("cantal-61")
def test_rates_span_a_new_declaration_but_not_another_process(machine: Scanned, tmp_path: Path) -> None:
    path = tmp_path / "app"
    write_pair(path, 'counter 8: {"metric": "m"}', counters(10))
    with Sleeper(CANTAL_PATH=str(path)) as first:
        machine.scan()
        write_pair(path, 'counter 8: {"metric": "m"}\ncounter 8: {"metric": "new"}', counters(14, 1))
        machine.scan()
        write_pair(path, 'counter 8: {"metric": "m"}\ncounter 8: {"metric": "new"}', counters(20, 1))
        machine.scan()
        assert rates(machine, first.pid, "m") == [3.0, 2.0]
    with Sleeper(CANTAL_PATH=str(path)) as second:
        machine.scan()
        write_pair(path, 'counter 8: {"metric": "m"}', counters(100))
        machine.scan()
        assert rates(machine, second.pid, "m")[:2] == [40.0, None]
        assert rates(machine, first.pid, "m") == [None, None, 3.0, 2.0]


def test_a_file_that_appears_later_is_found_and_one_that_goes_is_forgotten(machine: Scanned, tmp_path: Path) -> None:
    path = tmp_path / "app"
    with Sleeper(CANTAL_PATH=str(path) + "/") as program:
        machine.scan()
        (tmp_path / "app.meta").write_text('counter 8: {"metric": "m"}')
        machine.scan()
        assert defects(machine, program.pid) == [("no values file", None)]
        write_pair(path, 'counter 8: {"metric": "m"}', counters(5))
        machine.scan()
        assert machine.now(pid=program.pid)["m"] == 5 and defects(machine, program.pid) == []
        (tmp_path / "app.meta").unlink()
        (tmp_path / "app.values").unlink()
        machine.scan()
        assert "m" not in machine.now(pid=program.pid)


def test_a_relative_path_begins_where_the_program_is(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "app", 'counter 8: {"metric": "m"}', counters(5))
    process = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "CANTAL_PATH": "app"}, cwd=tmp_path)
    try:
        machine.scan()
        assert machine.now(pid=str(process.pid))["m"] == 5
    finally:
        process.kill()
        process.wait()


def test_quotas_refuse_what_is_too_much_and_count_it(tmp_path: Path) -> None:
    machine = Scanned(max_series_per_file=3, max_series_per_uid=4)
    for name in ("a", "b"):
        meta = "\n".join(f'counter 8: {{"metric": "{name}{i}"}}' for i in range(5))
        write_pair(tmp_path / name, meta, counters(1, 2, 3, 4, 5))
    uid = 64_123  # nobody else's: the quota is for all programs of a user
    with Sleeper(uid, CANTAL_PATH=str(tmp_path / "a")) as a, Sleeper(uid, CANTAL_PATH=str(tmp_path / "b")) as b:
        machine.scan(2)
        published = [len([m for m in machine.now(pid=p.pid) if m[1:].isdigit()]) for p in (a, b)]
        assert sorted(published) == [1, 3]
        assert machine.now(group="cantal", appname="cantal")["values.over_quota"] >= 6


def test_a_program_cannot_change_what_the_kernel_says_of_it(machine: Scanned, tmp_path: Path) -> None:
    write_pair(tmp_path / "app", 'level 8: {"metric": "rss"}\nlevel 8: {"metric": "own"}', counters(10**15, 7))
    with Sleeper(CANTAL_PATH=str(tmp_path / "app")) as program:
        machine.scan()
        found = machine.now(pid=program.pid)
        assert found["own"] == 7 and 0 < found["rss"] < 10**12


PUBLISHING = """
import os, signal, sys
from manor.cantal import client
served = client.Counter(group="shop", metric="served")
stage = client.State(state="shop")
client.start(per_process=True)
served.incr(2)
child = os.fork()
if child == 0:
    served.incr(5)
    stage.enter("selling")
    print(os.getpid(), flush=True)
    signal.pause()
print(os.getpid(), flush=True)
try:
    os.wait()
finally:
    os.kill(child, 9)
"""


def test_programs_that_use_the_client_library_are_found_with_their_forked_workers(
    machine: Scanned, tmp_path: Path
) -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISHING],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "CANTAL_PATH": str(tmp_path / "shop")},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        worker = next(str(int(line)) for line in process.stdout if int(line) != process.pid)
        machine.scan(2)
        served = {pid: machine.now(pid=pid, group="shop").get("served") for pid in (str(process.pid), worker)}
        assert served == {str(process.pid): 2, worker: 5}
        texts = [s.text for s in machine.store.states.snapshot().values() if dict(s.key).get("pid") == worker]
        assert texts == ["selling"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
