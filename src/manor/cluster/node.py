"""A node: namespaces that look like a machine of their own, with a disk that outlives them.

Theory of operation. A node's file system is made of its host's: each top directory is an overlay whose lower layer
is the host's and whose upper layer lies in the node's directory, so whatever a node writes is its own and is still
there when it is started again. `/var` begins empty; `/run` and `/tmp` are new at every start. Upper layers must not
lie below their lower ones, which is why `/` itself is not overlaid (the kernel refuses it).

PID 1 is manor-init in its pausing mode: it only reaps. Daemons are put beside it by `enter.py`. When PID 1 is
killed the kernel kills everything in the node at once, which is how a machine loses power.

Every node has a cgroup namespace and mounts the hierarchies anew inside: otherwise two nodes' containers of one name
would share one cgroup.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from manor.config.errors import ManorError
from manor.kernel import pidfds, process

INNER_LINK = "eth0"
BOOT_TIMEOUT_S = 30.0
DEATH_TIMEOUT_S = 30.0


class NodeFailed(ManorError):
    """node1 did not start: mount of /usr: invalid argument"""


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a node is, before and after it runs."""

    name: str
    address: str  # IPv4 in the cluster's network
    machine_id: str  # 32 hex digits
    directory: str  # its disk, absolute
    cgroup: str  # absolute, below the root of every hierarchy
    host_link: str  # the outer end of its network link
    kept: dict[str, str] = {}  # directory in the node -> directory of the host, which outlives the cluster


def layer(spec: NodeSpec, top: str) -> Path:
    """Where a node keeps what it has written below a top directory such as `etc`; may be written while it is off."""
    return Path(spec.directory) / "layers" / top


class Running(msgspec.Struct, frozen=True):
    """Identifies the PID 1 of a node that was started, safe against reuse of the number."""

    pid: int  # on the host
    start_time: int  # clock ticks since boot, field 22 of /proc/PID/stat


def boot(spec: NodeSpec) -> Running:
    """Start a node. It has no link yet; its daemons are the caller's business.

    Raises:
        NodeFailed: with the last line the starting process printed.
    """
    Path(spec.directory).mkdir(parents=True, exist_ok=True)
    starter = subprocess.run(
        [sys.executable, "-m", "manor.cluster.boot"],
        input=msgspec.json.encode(spec),
        capture_output=True,
        timeout=BOOT_TIMEOUT_S,
    )
    if starter.returncode != 0:
        said = starter.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise NodeFailed(f"node {spec.name} did not start: {said[-1]}")
    pid = int(json.loads(starter.stdout)["pid"])
    return Running(pid, process.start_time(pid))


def is_alive(running: Running) -> bool:
    try:
        # A zombie is dead: its parent, the machine's init, may take a moment to collect it.
        return process.start_time(running.pid) == running.start_time and process.state(running.pid) not in "ZX"
    except OSError:
        return False


def kill(running: Running) -> None:
    """Take the power away: every process of the node dies without warning. Returns when they are gone."""
    if not is_alive(running):
        return
    pidfd = pidfds.open_pidfd(running.pid)
    try:
        pidfds.send_signal(pidfd, signal.SIGKILL)
        if not pidfds.wait_readable(pidfd, DEATH_TIMEOUT_S):
            raise NodeFailed(f"process {running.pid} of a node did not die within {DEATH_TIMEOUT_S:.0f} s")
    finally:
        os.close(pidfd)


def path_in(running: Running, path: str) -> Path:
    """A file of the node as the host reaches it while the node runs."""
    return Path(f"/proc/{running.pid}/root") / path.lstrip("/")
