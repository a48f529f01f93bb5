"""Become a node. Started as a process of its own with a node's specification on standard input (see node.py).

Prints the pid of the node's PID 1 and exits; whatever goes wrong is one line on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from pathlib import Path

import msgspec

from manor.cluster.node import NodeSpec, layer
from manor.container.init import find_init
from manor.kernel import cgroups, mounts, namespaces

FRESH = frozenset({"proc", "sys", "dev", "run", "tmp", "var"})
NEVER = frozenset({"lost+found", "mnt", "media"})
OWN = (
    namespaces.NEWNS
    | namespaces.NEWUTS
    | namespaces.NEWIPC
    | namespaces.NEWNET
    | namespaces.NEWCGROUP
    | namespaces.NEWPID
)


def main() -> int:
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=NodeSpec)
    init = str(find_init())
    hierarchies = cgroups.layout()
    try:
        cgroups.join(spec.cgroup)
        namespaces.unshare(OWN)
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ready)
            become_pid_1(spec, hierarchies, init, told)
        os.close(told)
        failure = os.read(ready, 4096)  # closed by the successful exec
    except OSError as error:
        failure = f"{error.filename or spec.name}: {error.strerror}".encode()
    if failure:
        print(failure.decode(errors="replace"), file=sys.stderr)
        return 1
    print(json.dumps({"pid": child}))
    return 0


def become_pid_1(spec: NodeSpec, hierarchies: cgroups.Layout, init: str, told: int) -> None:
    """Never returns: the process becomes the node's init, or says why not and ends."""
    try:
        os.setsid()
        make_file_system(spec, hierarchies)
        socket.sethostname(spec.name)
        with contextlib.suppress(OSError):  # whatever standard stream was closed already
            nothing = os.open("/dev/null", os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
        os.execve(init, [init, "--pause"], {"PATH": "/usr/bin:/bin"})
    except OSError as error:
        os.write(told, f"{error.filename or 'starting'}: {error.strerror}".encode())
    finally:
        os._exit(1)


def make_file_system(spec: NodeSpec, hierarchies: cgroups.Layout) -> None:
    """Build the node's tree below its directory and make it the root."""
    mounts.make_private(Path("/"), recursive=True)
    disk = Path(spec.directory)
    root = disk / "root"
    root.mkdir(exist_ok=True)
    mounts.mount("node", root, "tmpfs", 0, "mode=755")
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        inside = root / entry.name
        if entry.is_symlink():
            inside.symlink_to(os.readlink(entry.path))
        elif entry.is_dir() and entry.name not in NEVER:
            inside.mkdir()
            if entry.name not in FRESH:
                overlay_of(Path(entry.path), layer(spec, entry.name), inside)
    (root / "mnt").mkdir()
    own_var(disk / "var", root / "var")
    for inner, outer in spec.kept.items():
        for directory in (Path(outer), root / inner.lstrip("/")):
            directory.mkdir(parents=True, exist_ok=True)
        mounts.bind(outer, root / inner.lstrip("/"), recursive=False)
    mounts.mount("proc", root / "proc", "proc")
    mounts.mount("sysfs", root / "sys", "sysfs")
    mounts.bind(Path("/dev"), root / "dev", recursive=True)
    mounts.mount("shm", root / "dev/shm", "tmpfs", 0, "mode=1777")
    mounts.mount("run", root / "run", "tmpfs", 0, "mode=755")
    mounts.mount("tmp", root / "tmp", "tmpfs", 0, "mode=1777")
    mount_hierarchies(hierarchies, root / "sys/fs/cgroup")
    show_ourselves(root)
    mounts.pivot_root(root)


def show_ourselves(root: Path) -> None:
    """manor and its interpreter must be in the node as well, also where they lie below `/tmp` or `/var`."""
    for place in (Path(sys.prefix), Path(__file__).resolve().parents[1]):
        inside = root / place.relative_to("/")
        if not inside.exists():
            inside.mkdir(parents=True)
            mounts.bind(place, inside, read_only=True)


def overlay_of(lower: Path, upper: Path, target: Path) -> None:
    work = upper.with_name(f".work.{upper.name}")
    for directory in (upper, work):
        directory.mkdir(parents=True, exist_ok=True)
    upper.chmod(lower.stat().st_mode & 0o7777)
    mounts.overlay(target, lower=[lower], upper=upper, work=work)


def own_var(disk: Path, target: Path) -> None:
    for name in ("cache", "lib", "log", "spool"):
        (disk / name).mkdir(parents=True, exist_ok=True)
    (disk / "tmp").mkdir(exist_ok=True)
    (disk / "tmp").chmod(0o1777)
    if not (disk / "run").is_symlink():
        (disk / "run").symlink_to("/run")
    mounts.bind(disk, target, recursive=False)


def mount_hierarchies(hierarchies: cgroups.Layout, target: Path) -> None:
    """The host's cgroup hierarchies again, each showing only the node's own subtree."""
    if hierarchies.kind is cgroups.Kind.V2:
        mounts.mount("cgroup2", target, "cgroup2")
        return
    mounts.mount("cgroup", target, "tmpfs", 0, "mode=755")
    for one in hierarchies.mounted:
        inside = target / one.path.name
        inside.mkdir()
        mounts.mount("cgroup", inside, one.fstype, 0, one.options)


if __name__ == "__main__":
    sys.exit(main())
