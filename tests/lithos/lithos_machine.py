"""A machine of its own for each test: config, images, logs and runtime directories, one cgroup, real containers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from manor.kernel import cgroups, mounts
from manor.lithos.files.record import RecordStore
from manor.lithos.files.status import InstanceStatus, MasterStatus, read_status

T = TypeVar("T")

PATIENCE_S = 30.0
BIN = Path(sys.executable).parent


def wait_until(condition: Callable[[], T], what: str = "condition", patience_s: float = PATIENCE_S) -> T:
    """The first true answer; the test fails when none comes in time."""
    deadline = time.monotonic() + patience_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s:g} s in vain for: {what}")
        time.sleep(0.02)
    return answer


def free_port() -> int:
    """Below the range from which the kernel takes ports for connections, so that none of these gets in the way."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


class Machine:
    """Files are written as JSON, which is YAML. The master config is nearly empty, as far as parallel tests allow."""

    def __init__(self, root: Path, guest: Path) -> None:
        self.root = root
        self.guest = guest
        self.cgroup = f"lithos-test-{root.name}.slice"
        self.master: subprocess.Popen[bytes] | None = None
        self.images = root / "images"
        self.run_dir = root / "run"
        self.log_dir = root / "log"
        self.host_dir = root / "host"
        for directory in (self.images, root / "sandboxes", root / "processes", self.host_dir, self.log_dir):
            directory.mkdir()
        self.write_master()
        self.sandbox("shop")

    # --- files ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        return self.root / "master.yaml"

    def write_master(self, **options: Any) -> None:
        document = {
            "runtime-dir": str(self.run_dir),
            "default-log-dir": str(self.log_dir),
            "stdio-log-dir": str(self.log_dir / "stderr"),
            "config-log-dir": str(self.log_dir / "config"),
            "devfs-dir": None,
            "cgroup-name": self.cgroup,
            "log-level": "info",
            **options,
        }
        self.config.write_text(json.dumps(document))

    def sandbox(self, name: str, **options: Any) -> None:
        document = {
            "image-dir": str(self.images),
            "allow-users": ["1-100"],
            "default-user": 1,
            "allow-groups": ["0-100"],
            "allow-tcp-ports": ["1024-65535"],
            **options,
        }
        (self.root / f"sandboxes/{name}.yaml").write_text(json.dumps(document))

    def image(self, name: str = "first", configs: Mapping[str, Mapping[str, Any] | str] = {}) -> Path:
        """A small image: busybox, the guest program, and container configs by name."""
        image = self.images / name
        for directory in ("bin", "dev", "proc", "sys", "etc", "tmp", "config", "data"):
            (image / directory).mkdir(parents=True, exist_ok=True)
        if not (image / "bin/busybox").exists():
            os.link(_busybox(self.root), image / "bin/busybox")
            os.link(self.guest, image / "bin/guest")
            (image / "bin/sh").symlink_to("busybox")
        for config, content in configs.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (image / f"config/{config}.yaml").write_text(text)
        return image

    def processes(self, entries: Mapping[str, Any] | str, sandbox: str = "shop") -> Path:
        path = self.root / f"processes/{sandbox}.yaml"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    def new_processes(self, entries: Mapping[str, Any] | str) -> Path:
        path = self.root / "new.yaml"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    # --- commands ---------------------------------------------------------------------------------------------

    def start(self) -> subprocess.Popen[bytes]:
        with open(self.root / "tree.err", "ab") as output:
            self.master = subprocess.Popen(
                [BIN / "lithos_tree", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "TERM": "xterm"},
            )
        return self.master

    def run(self, program: str, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / program, *words], check=False, capture_output=True, text=True, timeout=60, **options
        )

    def check(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("lithos_check", "-C", self.config, *words)

    def switch(self, entries: Mapping[str, Any] | str, sandbox: str = "shop") -> subprocess.CompletedProcess[str]:
        return self.run("lithos_switch", "--master", self.config, sandbox, self.new_processes(entries))

    def command(self, name: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("lithos_cmd", "--master", self.config, "shop", name, *words, **options)

    def signal(self, number: int) -> None:
        assert self.master is not None
        self.master.send_signal(number)

    def stop(self) -> int:
        assert self.master is not None
        self.signal(signal.SIGTERM)
        return self.master.wait(PATIENCE_S)

    def kill(self) -> None:
        assert self.master is not None
        self.master.kill()
        self.master.wait(PATIENCE_S)

    # --- what is seen -----------------------------------------------------------------------------------------

    def status(self) -> MasterStatus | None:
        return read_status(self.run_dir / "status.json")

    def instances(self) -> dict[str, InstanceStatus]:
        status = self.status()
        return {one.name: one for one in status.instances} if status is not None else {}

    def states(self) -> dict[str, str]:
        return {name: one.state for name, one in self.instances().items()}

    def wait_states(self, **wanted: str) -> dict[str, InstanceStatus]:
        """`web_0="ready"`: exactly these instances of sandbox shop are in these states."""
        expected = {f"shop/{key.replace('_', '.')}": state for key, state in wanted.items()}
        wait_until(lambda: self.states() == expected, f"{expected}; {self.describe()}")
        return self.instances()

    def pid(self, name: str) -> int:
        pid = self.instances()[name].pid
        assert pid is not None
        return pid

    def restarted(self, count: int) -> None:
        """Wait for that many lives of the master in all."""
        wait_until(lambda: self.metric("master", "restarts") == count, f"{count} lives of the master")

    def metric(self, group: str, metric: str) -> int | None:
        from manor.lithos.metrics import read_values

        values = read_values(self.run_dir / "metrics.meta", self.run_dir / "metrics.values")
        return next((v for n, v in values.items() if (n.group, n.metric) == (group, metric)), None)

    def output(self, sandbox: str = "shop") -> str:
        path = self.log_dir / f"stderr/{sandbox}.log"
        return path.read_text() if path.exists() else ""

    def said(self, line: str) -> int:
        """How often the processes have printed just this line."""
        return self.output().splitlines().count(line)

    def log(self) -> str:
        path = self.log_dir / "master.log"
        return path.read_text() if path.exists() else ""

    def describe(self) -> str:
        return f"states {self.states()}, log:\n{self.log()}\n{(self.root / 'tree.err').read_text()}\n{self.output()}"

    def groups(self) -> list[str]:
        """The cgroups of containers that there are, in any hierarchy."""
        found = {p.name for h in cgroups.layout().hierarchies for p in (h / self.cgroup).glob("*.scope")}
        return sorted(found)

    def leftovers(self) -> list[str]:
        """Whatever a clean stop should have taken away."""
        found = [str(h / self.cgroup) for h in cgroups.layout().hierarchies if (h / self.cgroup).exists()]
        found += [m.target for m in mounts.read_mounts() if m.target.startswith(str(self.root))]
        for name in ("containers", "bundles", "state", "notify"):
            found += [str(path) for path in (self.run_dir / name).rglob("*")]
        found += [
            str(self.run_dir / n)
            for n in ("master.pid", "status.json", "metrics.meta", "metrics.values")
            if (self.run_dir / n).exists()
        ]
        return found + [str(path) for path in (self.run_dir / "oci").iterdir()]

    def tear_down(self) -> None:
        if self.master is not None and self.master.poll() is None:
            self.kill()
        for record in RecordStore(self.run_dir / "containers").read_all()[0]:
            if record.init_pid is not None and self._is_ours(record.init_pid):
                os.kill(record.init_pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            cgroups.kill_all(f"/{self.cgroup}")
            cgroups.remove(f"/{self.cgroup}")
        for mount in reversed(mounts.read_mounts()):
            if mount.target.startswith(str(self.root)):
                mounts.unmount(mount.target, lazy=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def _is_ours(self, pid: int) -> bool:
        try:
            return str(self.images) in Path(f"/proc/{pid}/mountinfo").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False


def _busybox(root: Path) -> Path:
    """A copy on the same file system, to be linked into images."""
    copy = root / "busybox"
    if not copy.exists():
        shutil.copy2("/bin/busybox", copy)
    return copy


SLEEPER: Mapping[str, Any] = {"executable": "/bin/busybox", "arguments": ["sleep", "100000"]}


def shell(script: str, **options: Any) -> dict[str, Any]:
    """A container config that runs a shell script."""
    return {"executable": "/bin/busybox", "arguments": ["sh", "-c", script], **options}
