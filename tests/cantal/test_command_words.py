"""What the `cantal` command prints: of files, of processes, and what an agent says."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from agent_runner import Agent, free_port, wait_until
from scanned_machine import Sleeper, counters, write_pair

CANTAL = str(Path(sys.executable).with_name("cantal"))


def cantal(*arguments: object, stdin: str = "", url: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CANTAL, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **({"CANTAL_URL": url} if url else {}), **environ},
        check=False,
    )


@pytest.mark.case("cantal-05")
def test_files_are_printed_one_value_a_line(tmp_path: Path) -> None:
    write_pair(tmp_path / "x", 'counter 8: {"metric": "a"}', counters(97))
    done = cantal(tmp_path / "x.values")
    assert (done.stdout, done.stderr, done.returncode) == (
        f'{tmp_path}/x.values: {{"metric": "a"}} Counter(97)\n',
        "",
        0,
    )
    done = cantal(tmp_path / "missing.values", tmp_path / "x.values")
    assert done.stdout == f'{tmp_path}/x.values: {{"metric": "a"}} Counter(97)\n'
    assert done.stderr.count("\n") == 1 and "missing.values" in done.stderr and done.returncode == 1


def test_every_kind_of_value(tmp_path: Path) -> None:
    meta = (
        'level 8 signed: {"n":"i"}\nlevel 8 float: {"n":"f"}\nlevel 8 float: {"n": "nan"}\nstate 16: {"n": "s"}\n'
        'gauge 8: {"n": "g"}'
    )
    write_pair(tmp_path / "x", meta, struct.pack("=qddQ8s8x", -3, 1.5, float("nan"), 1500, b'a "b"\0'))
    name = f"{tmp_path}/x.values"
    assert cantal(name).stdout.splitlines() == [
        f'{name}: {{"n":"i"}} Integer(-3)',
        f'{name}: {{"n":"f"}} Float(1.5)',
        f'{name}: {{"n": "nan"}} Float(NaN)',
        f'{name}: {{"n": "s"}} State((1500, "a \\"b\\""))',
    ]
    rows = [json.loads(line) for line in cantal("--json", name).stdout.splitlines()]
    assert rows[0] == {"source": name, "key": {"n": "i"}, "kind": "Integer", "value": -3}
    assert cantal(name).returncode == 0
    strict = cantal("--strict", name)
    assert strict.returncode == 1 and "line 5: unknown type `gauge 8`" in strict.stderr


def test_watching_shows_rates(tmp_path: Path) -> None:
    write_pair(tmp_path / "x", 'counter 8: {"metric": "a"}', counters(97))
    watching = subprocess.Popen([CANTAL, "--watch=0.2", str(tmp_path / "x.values")], stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        assert "Counter(97)\n" in watching.stdout.readline()
        assert "Counter(97) 0.0/s\n" in watching.stdout.readline()
    finally:
        watching.kill()
        watching.wait()


def test_usage(tmp_path: Path) -> None:
    assert (cantal().stdout, cantal().returncode) == ("", 0)
    assert cantal("--version").stdout.startswith("cantal ")
    assert cantal("--nonsense").returncode == 2
    assert "add-host" in cantal("--help").stdout
    done = cantal("no-pid")
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.case("cantal-06")
def test_processes_are_found_by_their_environment_or_their_memory(tmp_path: Path) -> None:
    write_pair(tmp_path / "x", 'counter 8: {"metric": "a"}', counters(97))
    mapped = Path(f"/tmp/cantal-test.{os.getpid()}")
    write_pair(mapped, 'counter 8: {"metric": "mapped"}', counters(5))
    script = (
        f"import mmap, time; f = open('{mapped}.values', 'r+b'); m = mmap.mmap(f.fileno(), 8); print(1, flush=True); "
        "time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]})
    try:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with Sleeper(CANTAL_PATH=str(tmp_path / "x")) as program:
            done = cantal(program.pid, other.pid)
            assert done.stdout == (
                f'{program.pid}: {{"metric": "a"}} Counter(97)\n{other.pid}: {{"metric": "mapped"}} Counter(5)\n'
            )
            assert done.returncode == 0
    finally:
        other.kill()
        other.wait()
        for suffix in (".meta", ".values"):
            mapped.with_name(mapped.name + suffix).unlink()


def test_check_names_every_defect_by_its_line(tmp_path: Path) -> None:
    meta = 'counter 8: {"a": "1"}\ngauge 8: {}\ncounter 8: {"a": "1"}\ncounter 8: {"b": null}'
    write_pair(tmp_path / "x", meta, counters(1, 2))
    done = cantal("check", tmp_path / "x.values")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{tmp_path}/x.meta:1: the same key again in line 3; the last one counts",
        f"{tmp_path}/x.meta:2: unknown type `gauge 8`; skipped",
        f"{tmp_path}/x.meta:3: `.values` has 16 bytes, this entry ends at 24",
        f"{tmp_path}/x.meta:4: the value of `b` is null, a list or an object; left out",
    ]
    write_pair(tmp_path / "x", 'counter 8: {"a": "1"}', counters(1))
    assert cantal("check", tmp_path / "x").returncode == 0
    write_pair(tmp_path / "x", "counter x: {}", counters(1))
    assert f"{tmp_path}/x.meta:1: cannot be read" in cantal("check", tmp_path / "x").stderr


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    one = Agent(tmp_path_factory.mktemp("agent"), 77, "--cluster-name", "words")
    try:
        one.start()
        wait_until(lambda: one.get("/status.json")["ticks"] >= 3)
        yield one
    finally:
        one.kill()


@pytest.fixture
def url(agent: Agent) -> str:
    return f"http://{agent.address}"


class TestAskingAnAgent:
    def test_status(self, url: str) -> None:
        done = cantal("status", url=url)
        assert done.returncode == 0
        lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
        assert lines["node"].startswith("node-77 (") and "every 0.2 s" in lines["scan"]
        assert json.loads(cantal("status", "--json", url=url).stdout)["interval"] == 200

    def test_peers_and_add_host(self, agent: Agent, url: str, tmp_path: Path) -> None:
        other = Agent(tmp_path, 78, "--cluster-name", "words")
        try:
            other.start()
            done = cantal("add-host", other.address, url=url)
            assert (done.stdout, done.returncode) == (f"{other.address}: alive {other.id}\n", 0)
            wait_until(lambda: agent.state_of(other) == "alive")
            head, row = cantal("peers", url=url).stdout.splitlines()
            assert head.split()[:4] == ["ID", "NAME", "ADDRESS", "STATE"]
            assert row.split()[:4] == [other.id, "node-78", other.address, "alive"]
        finally:
            other.kill()
        done = cantal("add-host", f"127.0.0.1:{free_port()}", "--wait", "0.5", url=url)
        assert done.returncode == 1 and done.stdout.endswith(": unanswered\n")
        done = cantal("add-host", "no.such.host.invalid:1", url=url)
        assert done.returncode == 1 and done.stderr.startswith("cantal: the agent said no: ")

    def test_metrics(self, url: str, tmp_path: Path) -> None:
        write_pair(
            tmp_path / "x",
            'counter 8: {"metric": "a b"}\nstate 16: {"metric": "s"}',
            struct.pack("=QQ8s", 97, 1500, b"busy"),
        )
        with Sleeper(CANTAL_PATH=str(tmp_path / "x")) as program:
            wait_until(lambda: cantal("metrics", f"pid={program.pid}", "metric=a b", url=url).stdout)
            done = cantal("metrics", f"pid={program.pid}", "metric~=^(a b|s)$", url=url)
            lines = done.stdout.splitlines()
            assert lines[0].endswith("'busy' since 1500") and lines[1].endswith(" 97")
            assert '"a b"' in lines[1]
        assert cantal("metrics", "nonsense", url=url).returncode == 2

    def test_query(self, url: str, tmp_path: Path) -> None:
        rule = {"series": {"source": "Fine", "condition": ["Eq", "metric", "uptime"]}}
        (tmp_path / "q.json").write_text(json.dumps({"rules": {"q": rule}}))
        done = cantal("query", tmp_path / "q.json", url=url)
        assert json.loads(done.stdout)["values"]["q"]["tips"][0]["kind"] == "Float"
        done = cantal("query", "-", stdin='{"rules": {}}', url=url)
        assert (done.returncode, done.stderr) == (
            1,
            "cantal: the agent said no: rules: 1 to 100 are allowed, 0 given\n",
        )
        done = cantal("query", "-", stdin='{\n"rules": }', url=url)
        assert done.returncode == 1 and done.stderr.startswith("cantal: -:2:10: ")
        assert cantal("query", "/nowhere.json", url=url).stderr.startswith("cantal: /nowhere.json: No such file")

    def test_top(self, url: str) -> None:
        done = cantal("top", "--filter", "cantal-agent", url=url)
        assert done.returncode == 0 and "cantal-agent" in done.stdout
        assert cantal("top", "--remote", url=url).returncode == 2

    def test_nobody_there_and_not_authorised(self, tmp_path: Path) -> None:
        done = cantal("peers", "--url", f"http://127.0.0.1:{free_port()}")
        assert done.returncode == 3 and "connection refused" in done.stderr and done.stderr.count("\n") == 1


class TestResourcesOverHttp:
    @pytest.mark.case("cantal-37")
    def test_a_bad_query_is_answered_with_its_place_and_no_pattern_takes_long(
        self, agent: Agent, tmp_path: Path
    ) -> None:
        def refused(**rule: Any) -> str:
            status, answer = agent.refusal("/query.json", {"rules": {"q": {"series": {"source": "Fine"}, **rule}}})
            assert status == 400
            return str(answer["error"])

        assert refused(functions=[["Sum"]]) == "rules.q.functions[0]: Sum takes 1 argument, 0 given"
        assert refused(functions=[["Total"]]).startswith("rules.q.functions[0]: unknown function `Total`")
        pattern = {"source": "Fine", "condition": ["RegexLike", "m", r"(a)\1"]}
        assert refused(series=pattern).startswith("rules.q.series.condition[2]: bad pattern")
        long = "a" * 1000
        meta = "\n".join(f'counter 8: {{"n":"{long}","i":"{i}"}}' for i in range(1000))
        write_pair(tmp_path / "x", meta, bytes(8000))
        series = {"source": "Fine", "condition": ["RegexLike", "n", "(a+)+$"]}
        rule = {"series": series, "functions": [["Aggregate", "count", []]]}
        with Sleeper(CANTAL_PATH=str(tmp_path / "x")):
            # an engine that backtracks would never come back from the last of these
            found = wait_until(lambda: agent.post("/query.json", {"rules": {"q": rule}})["values"]["q"]["tips"])
            assert found[0]["value"] == 1000
            series["condition"] = ["RegexLike", "n", "(a+)+b$"]
            assert agent.post("/query.json", {"rules": {"q": rule}})["values"]["q"]["tips"] == []
        assert agent.refusal("/query.json", b"not json")[0] == 400

    def test_a_query_over_a_limit_is_422(self, agent: Agent) -> None:
        deep: list[Any] = ["All"]
        for _ in range(40):
            deep = ["Not", deep]
        document = {"rules": {"q": {"series": {"source": "Fine", "condition": deep}}}}
        status, answer = agent.refusal("/query.json", document)
        assert status == 422 and "32" in answer["error"]

    def test_the_binary_forms(self, agent: Agent) -> None:
        rule = {"series": {"source": "Fine", "condition": ["Eq", "metric", "uptime"]}}
        answer = cbor2.loads(agent.raw("/query.cbor", {"rules": {"q": rule}}))
        code, ((key, (kind, value), (newest, oldest)),) = answer["values"]["q"]
        assert (code, key, kind) == (201, b"\xa1\x66metric\x66uptime", 3) and value > 0 and newest == oldest
        metrics = cbor2.loads(agent.raw("/all_metrics.cbor"))["metrics"]
        assert any(key == b"\xa1\x66metric\x66uptime" and kind == 3 for key, _time, (kind, _value) in metrics)

    def test_plain_documents(self, agent: Agent) -> None:
        assert agent.get("/users.json")["0"] == "root"
        assert agent.get("/values_errors.json")["errors"] is not None
        assert {"layout", "cgroups"} == agent.get("/cgroups.json").keys()
        mine = [p for p in agent.get("/all_processes.json")["all"] if p["pid"] == os.getpid()]
        assert mine and mine[0]["num_threads"] >= 1
