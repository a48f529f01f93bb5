"""The scheduler's process: what it is given, what it may not, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from manor.verwalter.settings import Scheduler
from manor.verwalter.worker import child
from manor.verwalter.worker.client import SchedulerRoundFailed, SchedulerWorker
from manor.verwalter.worker.engines import SchedulerFailed, SchedulerLoadFailed, checked, load, sources_hash
from manor.verwalter.worker.messages import Failed, Ran, Run

ROLES = "schema: 1\nroles: {site: {template: site/v1, daemons: {web: {instances: 1}}}}\n"
INPUT: dict[str, Any] = {"now": 1000, "parents": [], "parent_info": [], "actions": {}, "runtime": {}, "nodes": {}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "roles.yaml").write_text(ROLES)
    tmp_path.chmod(0o755)
    return tmp_path


async def with_worker(directory: Path, **settings: Any) -> SchedulerWorker:
    worker = SchedulerWorker(directory, Scheduler(**settings))
    await worker.load()
    return worker


def test_a_round_in_another_process_gives_the_schedule(directory: Path) -> None:
    async def story() -> None:
        worker = await with_worker(directory)
        assert worker.loaded is not None
        assert (worker.loaded.engine, worker.loaded.hash) == ("declarative", sources_hash(directory))
        first, second = await worker.run(INPUT), await worker.run(INPUT)
        assert first == second
        assert "site" in first.schedule["roles"]
        await worker.close()

    asyncio.run(story())


def test_a_worker_has_no_rights_and_nothing_open(directory: Path) -> None:
    async def story() -> None:
        worker = await with_worker(directory)
        assert worker._child is not None
        pid = worker._child.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")] == ["0"]
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534" in status
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
            opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            assert len([name for name in opened if name.startswith("socket:")]) == 1
        await worker.close()
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()

    asyncio.run(story())


def test_a_round_that_takes_too_long_is_killed_and_the_next_one_starts_anew(directory: Path) -> None:
    async def story() -> None:
        worker = await with_worker(directory, timeout=0.3)
        assert worker._child is not None
        os.kill(worker._child.process.pid, signal.SIGSTOP)
        with pytest.raises(SchedulerRoundFailed, match=r"scheduler exceeded its limit of 0\.3 s"):
            await worker.run(INPUT)
        worker._settings = Scheduler()
        assert (await worker.run(INPUT)).log is not None
        await worker.close()

    asyncio.run(story())


def test_a_worker_that_dies_is_a_failed_round(directory: Path) -> None:
    async def story() -> None:
        worker = await with_worker(directory)
        assert worker._child is not None
        os.kill(worker._child.process.pid, signal.SIGSEGV)
        with pytest.raises(SchedulerRoundFailed, match="scheduler process died with signal SIGSEGV"):
            await worker.run(INPUT)
        await worker.run(INPUT)
        await worker.close()

    asyncio.run(story())


def test_an_exception_is_a_failed_round_with_its_traceback(directory: Path) -> None:
    async def story() -> None:
        worker = await with_worker(directory)
        with pytest.raises(SchedulerRoundFailed, match="scheduler raised: KeyError") as failed:
            await worker.run({})
        assert "Traceback" in failed.value.debug_log
        await worker.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no scheduler here; one of `scheduler.wasm`, `main.lua`, `main.py`, `roles.yaml` would be right"),
        ({"main.lua": ""}, "`main.lua` is not supported yet"),
        ({"main.py": "", "roles.yaml": ROLES}, "`main.py` is not supported yet"),
        ({"roles.yaml": "schema: 1\n"}, "roles.yaml:1:1"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SchedulerLoadFailed) as refused:
        load(tmp_path)
    assert reason in str(refused.value)

    async def story() -> None:
        with pytest.raises(SchedulerLoadFailed) as refused:
            await SchedulerWorker(tmp_path, Scheduler()).load()
        assert reason in str(refused.value)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ((None, "", {}), "scheduler returned nothing"),
        (([], "", {}), "scheduler returned an invalid value: list"),
        (({}, 5, {}), "scheduler returned an invalid log"),
    ],
)
def test_results_of_the_wrong_type_fail_the_round(result: tuple[Any, Any, Any], reason: str) -> None:
    with pytest.raises(SchedulerFailed, match=reason):
        checked(result)
    assert child.run_once(lambda _input: result, Run(input={})) == Failed(error=reason)


def test_answers_without_a_mapping_are_no_answers() -> None:
    assert child.run_once(lambda _input: ({"a": 1}, "log", None), Run(input={})) == Ran(
        schedule={"a": 1}, log="log", answers={}
    )
