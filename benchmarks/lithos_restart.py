"""A process is killed: how long until its successor runs, under lithos, supervisord and runit.

All three keep the same sleeper, which says through a pipe that it has begun. Each has lived for longer than any of them
makes a process wait that ends at once (`restart-timeout` of lithos, a second in runsv), so what is seen is only the
way from the death to the next start. lithos makes a container for it, the others fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks import children
from benchmarks.measure import Row, Size, find_peer, in_turn
from benchmarks.rootfs import make_rootfs
from manor.kernel import cgroups
from manor.lithos.process_config import read_status

LIVED_S = 1.1
INSTANCE = "bench/sleeper.0"


def run(size: Size) -> Iterable[Row]:
    runs = 9 if size is Size.FULL else 1
    supervisors = {
        "supervisord": (find_peer("supervisord", "supervisor", size), under_supervisord),
        "runit": (find_peer("runsv", "runit", size), under_runit),
    }
    supervisors = {name: (program, keep) for name, (program, keep) in supervisors.items() if program is not None}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-bench-"))).resolve()
        directory.chmod(0o755)  # lithos' sleeper is not root
        kept = [stack.enter_context(under_lithos(directory / "lithos"))]
        for name, (program, keep) in supervisors.items():
            kept.append(stack.enter_context(keep(program, directory / name)))
        ours_s, *peers_s = in_turn(runs, *(sleeper.restart_s for sleeper in kept))
    what = "from SIGKILL until the successor runs"
    if not peers_s:
        yield Row(what, ours_s, "s")
    for name, peers in zip(supervisors, peers_s, strict=True):
        yield Row(what, ours_s, "s", name, peers)


class KeptSleeper:
    """The sleeper of one supervisor: its pipe, and how its process is found.

    Args:
        directory: where its pipe is made; the sleeper sees it as `seen_as`.
    """

    def __init__(self, directory: Path, *, seen_as: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        pipe = directory / "begun"
        os.mkfifo(pipe)
        pipe.chmod(0o666)
        self._fd = os.open(pipe, os.O_RDWR)
        self.script = f"echo $$ > {(seen_as or directory) / 'begun'}; exec /bin/busybox sleep 1000"
        self.find_pid: Callable[[int], int] = lambda told: told
        self.pid = 0
        self._began = 0.0

    def wait_begun(self) -> None:
        if not select.select([self._fd], [], [], children.PATIENCE_S)[0]:
            raise TimeoutError(f"not within {children.PATIENCE_S:g} s: the sleeper begins")
        self._began = time.perf_counter()
        self.pid = self.find_pid(int(os.read(self._fd, 100)))

    def restart_s(self) -> float:
        time.sleep(max(0.0, self._began + LIVED_S - time.perf_counter()))
        killed = time.perf_counter()
        os.kill(self.pid, signal.SIGKILL)
        self.wait_begun()
        return self._began - killed

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def under_lithos(directory: Path) -> Iterator[KeptSleeper]:
    with contextlib.closing(KeptSleeper(directory / "data", seen_as=Path("/data"))) as sleeper:
        master = {
            "runtime-dir": str(directory / "run"),
            "default-log-dir": str(directory / "log"),
            "stdio-log-dir": str(directory / "log/stderr"),
            "config-log-dir": str(directory / "log/config"),
            "devfs-dir": None,
            "cgroup-name": f"{directory.parent.name}.slice",
        }
        sandbox = {
            "image-dir": str(directory / "images"),
            "allow-users": ["1-100"],
            "default-user": 1,
            "allow-groups": ["0-100"],
            "writable-paths": {"/data": str(directory / "data")},
        }
        processes = {"sleeper": {"image": "tiny", "config": "/config/sleeper.yaml", "instances": 1}}
        for path, document in (("master", master), ("sandboxes/bench", sandbox), ("processes/bench", processes)):
            file = directory / f"{path}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(document))  # which is YAML
        (directory / "log").mkdir()
        image = make_rootfs(directory / "images/tiny")
        (image / "config/sleeper.yaml").write_text(
            f"executable: /bin/sh\narguments: [-c, {json.dumps(sleeper.script)}]\n"
            f"restart-timeout: {LIVED_S - 0.1}\nvolumes: {{/data: !Persistent {{path: /data}}}}\n"
        )
        status = directory / "run/status.json"

        def instance_pid(before: int) -> int | None:
            """The kernel's number, once it is another one: inside the container it has its own."""
            found = read_status(status)
            pids = [one.pid for one in found.instances if one.name == INSTANCE] if found else []
            return next((pid for pid in pids if pid not in (None, before)), None)

        sleeper.find_pid = lambda _told: children.wait_until(
            lambda: instance_pid(sleeper.pid) or 0, f"{INSTANCE} in {status}"
        )
        words = [children.ours("lithos_tree"), "--config", directory / "master.yaml"]
        try:
            with children.running(words, log=directory / "tree.log"):
                sleeper.wait_begun()
                yield sleeper
        finally:
            # A master that stopped cleanly has left neither.
            with contextlib.suppress(OSError):
                cgroups.kill_all(f"/{directory.parent.name}.slice")
                cgroups.remove(f"/{directory.parent.name}.slice")


@contextlib.contextmanager
def under_supervisord(program: str, directory: Path) -> Iterator[KeptSleeper]:
    with contextlib.closing(KeptSleeper(directory)) as sleeper:
        config = directory / "supervisord.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile={directory}/log\npidfile={directory}/pid\n"
            f"childlogdir={directory}\n[program:sleeper]\ncommand=/bin/sh {script(directory, sleeper)}\n"
        )
        with children.running([program, "-c", config], log=directory / "supervisord.log"):
            sleeper.wait_begun()
            yield sleeper


@contextlib.contextmanager
def under_runit(program: str, directory: Path) -> Iterator[KeptSleeper]:
    with contextlib.closing(KeptSleeper(directory)) as sleeper:
        service = directory / "service"
        service.mkdir()
        shutil.copy(script(directory, sleeper), service / "run")
        with children.running([program, service], log=directory / "runsv.log"):
            sleeper.wait_begun()
            yield sleeper


def script(directory: Path, sleeper: KeptSleeper) -> Path:
    file = directory / "sleeper"
    file.write_text(f"#!/bin/sh\n{sleeper.script}\n")
    file.chmod(0o755)
    return file
