"""When the collector measures, what it tells, and how it survives clocks, restarts and its own end."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest
from agent_runner import Agent, wait_until
from scanned_machine import MadeUp

from manor.cantal import local_api
from manor.cantal.collector import Collector, CollectorOptions, OwnNumbers, Tick
from manor.cantal.query.conditions import Eq
from manor.cantal.tick_clock import TickClock

INTERVAL = 2000
NOON = 1_800_000_000_000
HOUR = 3_600_000


class FakeClocks:
    """Both clocks of a machine, in a test's hands."""

    def __init__(self, wall: int = NOON, boot: int = 50_000) -> None:
        self.wall = wall
        self.boot = boot

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot

    def wait(self, until: threading.Event, ms: int) -> bool:
        self.pass_by(ms)
        return until.is_set()

    def pass_by(self, ms: int) -> None:
        self.wall += ms
        self.boot += ms

    def set_wall(self, by_ms: int) -> None:
        self.wall += by_ms


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    machine = MadeUp(tmp_path)
    machine.put("/proc/stat", "cpu 1 1 1 1\nintr 0\nctxt 0\nbtime 1700000000\n")
    machine.put("/proc/loadavg", "0.50 0.25 0.10 3/456 7890\n")
    machine.process(7, utime=5, start=100)
    return machine


def collector(made_up: MadeUp, clocks: FakeClocks, storage: Path | None = None) -> Collector:
    options = CollectorOptions(INTERVAL, HOUR, proc_root=made_up.proc, sys_root=made_up.sys, storage_dir=storage)
    return Collector(options, clocks)


def run(one: Collector, clocks: FakeClocks, ticks: int) -> None:
    """Let time pass until so many more ticks were measured."""
    until = one.store.ticks_seen + ticks
    while one.store.ticks_seen < until:
        clocks.pass_by(one.step())


def times(one: Collector) -> list[int]:
    found: list[int] = one.store.view().times.tolist()
    return found


class TestTheClock:
    def test_ticks_are_multiples_of_the_interval_without_drift(self, made_up: MadeUp) -> None:
        clocks = FakeClocks(NOON + 700)
        one = collector(made_up, clocks)
        run(one, clocks, 4)
        assert times(one) == [NOON + INTERVAL * i for i in (1, 2, 3, 4)]

    def test_a_pass_that_takes_too_long_skips_the_missed_starts(self) -> None:
        clock = TickClock(INTERVAL)
        clock.observe(NOON, 0)
        assert clock.due(NOON) == NOON
        clock.started(NOON)
        assert clock.due(NOON + 5000) == NOON + 2 * INTERVAL
        clock.started(NOON + 2 * INTERVAL)
        assert clock.skipped == 1
        assert clock.due(NOON + 5000) == NOON + 3 * INTERVAL

    def test_a_small_step_back_is_waited_out(self, made_up: MadeUp) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        run(one, clocks, 3)
        clocks.set_wall(-9_000)
        run(one, clocks, 2)
        assert times(one) == [NOON + INTERVAL * i for i in (0, 1, 2, 3, 4)]
        assert clocks.boot == 50_000 + 4 * INTERVAL + 9_000

    @pytest.mark.case("cantal-32")
    def test_an_hour_back_and_an_hour_forward_move_all_ticks_along(self, made_up: MadeUp) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        run(one, clocks, 70)
        one.store.seal_full()
        for step in (-HOUR, HOUR, 2 * HOUR):
            before = times(one)
            clocks.set_wall(step)
            run(one, clocks, 3)
            after = times(one)
            assert all(a < b for a, b in pairwise(after))
            spans = [b - a for a, b in pairwise(before)]
            assert [b - a for a, b in pairwise(after)][: len(spans)] == spans
            assert after[: len(before)] == [time + step for time in before]
            assert after[-1] <= clocks.wall < after[-1] + 2 * INTERVAL

    def test_a_suspended_machine_has_a_gap_and_nothing_else(self, made_up: MadeUp) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        run(one, clocks, 2)
        clocks.pass_by(HOUR // 2)
        run(one, clocks, 1)
        assert times(one) == [NOON, NOON + INTERVAL, NOON + INTERVAL + HOUR // 2]


class TestWhatItTells:
    def test_subscribers_hear_of_every_tick_until_they_have_heard_enough(self, made_up: MadeUp) -> None:
        clocks, heard, broken = FakeClocks(), list[Tick](), list[Tick]()

        def fail(tick: Tick) -> None:
            broken.append(tick)
            raise ValueError("a subscriber's own mistake")

        one = collector(made_up, clocks)
        one.subscribe(fail)
        unsubscribe = one.subscribe(heard.append)
        run(one, clocks, 2)
        unsubscribe()
        run(one, clocks, 1)
        assert [(t.number, t.time_ms) for t in heard] == [(1, NOON), (2, NOON + INTERVAL)]
        assert len(broken) == 3 and one.last_tick() == broken[-1]

    def test_other_parts_of_the_agent_publish_through_it(self, made_up: MadeUp) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        one.publish(lambda: OwnNumbers({"gossip.bad_seal": 3}, {"gossip.share": 0.5}))
        run(one, clocks, 1)
        metrics = local_api.all_metrics(one, None)["metrics"]
        mine = {m["key"]["metric"]: m for m in metrics if m["key"].get("appname") == "cantal"}
        assert (mine["gossip.bad_seal"]["kind"], mine["gossip.bad_seal"]["value"]) == ("Counter", 3)
        assert (mine["gossip.share"]["kind"], mine["gossip.share"]["value"]) == ("Float", 0.5)
        assert mine["scan.skipped"]["value"] == 0

    def test_the_summary(self, made_up: MadeUp) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        assert one.summary()["last_scan"] is None and one.summary()["self_report"] is None
        run(one, clocks, 3)
        clocks.pass_by(500)
        summary = one.summary()
        assert summary["startup_time"] == NOON and summary["boot_time"] == 1_700_000_000
        assert (summary["ticks"], summary["processes"], summary["interval"]) == (3, 1, INTERVAL)
        assert summary["last_scan"] == NOON + 2 * INTERVAL and one.scan_age_ms() == 500
        assert summary["storage"] == {"time": 0, "timestamp": 0, "duration": 0, "size": 0, "error": None}
        assert summary["self_report"]["memory_rss"] > 1 << 20

    def test_the_process_table(self, made_up: MadeUp) -> None:
        made_up.process(8, "a<b>", ppid=7, utime=7, stime=8, cutime=9, cstime=10, threads=3, vsize=100, rss=2, start=50)
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        run(one, clocks, 1)
        answer = local_api.all_processes(one, None)
        assert answer["boot_time"] == 1_700_000_000
        assert [p["pid"] for p in answer["all"]] == [7, 8]
        assert answer["all"][1] == {
            "pid": 8,
            "ppid": 7,
            "uid": 0,
            "gid": 0,
            "name": "a<b>",
            "state": "S",
            "vsize": 100,
            "rss": 2 * 4096,
            "swap": 4096,
            "num_threads": 3,
            "start_time": 500,
            "start_timestamp": 1_700_000_000_500,
            "user_time": 7,
            "system_time": 8,
            "child_user_time": 9,
            "child_system_time": 10,
            "cmdline": "a<b>\0--flag\0",
            "read_bytes": 0,
            "write_bytes": 0,
            "cgroup": None,
            "io_available": False,
            "start_id": "8-50",
        }

    def test_a_fault_in_one_source_costs_only_that_source(
        self, made_up: MadeUp, caplog: pytest.LogCaptureFixture
    ) -> None:
        clocks = FakeClocks()
        one = collector(made_up, clocks)
        one.scanner.values._pairs = None  # type: ignore[assignment]  # a bug, as it were
        run(one, clocks, 2)
        assert one.scanner.faults == {"values": 2}
        assert len(caplog.records) == 1
        assert one.store.view().tips(one.store.matching(Eq("pid", "7"))[0]).bits.size

    def test_the_end_of_a_thread_is_told_with_its_exit_status(self, made_up: MadeUp) -> None:
        told, died = list[int](), threading.Event()
        clocks = FakeClocks()
        one = collector(made_up, clocks)

        def hear(status: int, _error: BaseException) -> None:
            told.append(status)
            died.set()

        def fail(*_: object) -> None:
            raise MemoryError

        one.on_death(hear)
        one.store.append = fail  # type: ignore[method-assign]
        one.start()
        assert died.wait(20)
        one.stop()
        assert told == [82]


class TestRestarts:
    def test_a_clean_stop_loses_nothing(self, made_up: MadeUp, tmp_path: Path) -> None:
        clocks = FakeClocks()
        first = collector(made_up, clocks, tmp_path / "storage")
        run(first, clocks, 65)
        first.stop()
        first.stop()
        clocks.pass_by(60_000)
        second = collector(made_up, clocks, tmp_path / "storage")
        run(second, clocks, 1)
        second.stop()
        assert times(second) == [*times(first), clocks.wall // INTERVAL * INTERVAL]
        frame = second.store.since(0, Eq("pid", "7"))
        assert not frame.breaks[1:].any(), "the same process goes on"

    @pytest.mark.case("cantal-30")
    @pytest.mark.system
    def test_killed_without_warning_it_loses_its_last_minute_only(self, tmp_path: Path) -> None:
        agent = Agent(tmp_path, 30, "--storage-dir", str(tmp_path / "storage"))
        rule = {"rules": {"q": {"series": {"source": "Fine", "condition": ["Eq", "metric", "cpu.idle"]}}}}
        rule["rules"]["q"]["extract"] = ["HistoryByNum", 1000]
        try:
            agent.start()
            # at 200 ms a tick all times are a tenth: what is saved every minute is saved every 6 s
            wait_until(lambda: agent.get("/status.json")["ticks"] >= 80, within=120)
            before = agent.post("/query.json", rule)["values"]["q"]["series"][0]["timestamps"]
            agent.kill()
            agent.start()
            wait_until(lambda: (agent.get("/status.json")["last_scan"] or 0) > before[0] + 1000)
            derived = {**rule["rules"]["q"], "functions": [["NonNegativeDerivative"]]}
            answer = agent.post("/query.json", {"rules": {"q": rule["rules"]["q"], "d": derived}})["values"]
            after, rates = answer["q"]["series"][0], answer["d"]["series"][0]["values"]
            kept = [time for time in before if time <= before[0] - 8_000]
            assert len(kept) > 30 and set(kept) <= set(after["timestamps"])
            gaps = [a - b for a, b in pairwise(after["timestamps"])]
            assert max(gaps) > 200, "the time away is a gap"
            assert all(rate is None or 0 <= rate <= 100 * 64 * 2 for rate in rates)
        finally:
            agent.kill()
