"""What a master stands on: its directories, its cgroup, a sysfs for containers with user namespaces; and back again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.kernel import cgroups, mounts
from manor.lithos.containers.host import Host
from manor.lithos.errors import Fatal
from manor.lithos.files.master import Places

MADE_WITH_PARENTS: Final = (Path("/run"), Path("/var/log"))
OWN_GROUP_V2: Final = "lithos_tree.scope"
SYSFS_FLAGS: Final = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC


def make_directories(places: Places) -> None:
    """Raises Fatal for a missing parent, and for what is there and is no directory."""
    wanted = [places.runtime, places.state, places.mount, places.default_log, places.config_log, places.stdio_log]
    for path in wanted:
        if path is not None:
            _make(path, with_parents=any(path.is_relative_to(parent) for parent in MADE_WITH_PARENTS))
    for path, mode in ((places.records, 0o755), (places.bundles, 0o700), (places.oci, 0o700), (places.sys, 0o755)):
        _make(path, with_parents=False, mode=mode)


def _make(path: Path, *, with_parents: bool, mode: int = 0o755) -> None:
    try:
        path.mkdir(mode=mode, parents=with_parents, exist_ok=True)
    except FileExistsError:
        raise Fatal(f"{path} is there and is no directory; move it away, or name another in master.yaml") from None
    except OSError as error:
        raise Fatal(f"cannot make the directory {path}: {error.strerror}; make its parent first") from error


def warnings(places: Places) -> Iterator[str]:
    """What an administrator should know of these directories."""
    runtime = os.path.realpath(places.runtime)
    above = [m for m in mounts.read_mounts() if runtime == m.target or runtime.startswith(m.target.rstrip("/") + "/")]
    if above and max(above, key=lambda mount: len(mount.target)).fstype not in ("tmpfs", "ramfs"):
        yield f"runtime-dir {places.runtime} is not on tmpfs: it would be better there, for what is in environments"


def join_group(host: Host) -> None:
    """Enter our group; on v2 a leaf of it, since a group with processes cannot have controlled children."""
    if host.cgroup_name is None or host.layout is None:
        return
    try:
        if host.layout.kind is not cgroups.Kind.V2:
            cgroups.join(f"/{host.cgroup_name}", host.controllers, at=host.layout)
        elif not cgroups.groups_of().get("", "").startswith(f"/{host.cgroup_name}/"):
            cgroups.join(f"/{host.cgroup_name}/{OWN_GROUP_V2}", at=host.layout)
    except OSError as error:
        raise Fatal(f"cannot join the cgroup {error.filename}: {error.strerror}") from error


def leave_group(host: Host) -> None:
    """At a clean stop: out of our group and remove it, unless somebody else (a lithos_cmd) is still in it."""
    if host.cgroup_name is None or host.layout is None:
        return
    for hierarchy in host.layout.hierarchies:
        with contextlib.suppress(OSError):
            (hierarchy / "cgroup.procs").write_text(str(os.getpid()))
    with contextlib.suppress(OSError):
        cgroups.remove(f"/{host.cgroup_name}", at=host.layout)


def mount_sys(places: Places) -> None:
    """Raises OSError."""
    if not mounts.is_mount_point(places.sys):
        mounts.mount("sysfs", places.sys, "sysfs", SYSFS_FLAGS)


def unmount_sys(places: Places) -> None:
    with contextlib.suppress(OSError):
        mounts.unmount(places.sys, lazy=True)
