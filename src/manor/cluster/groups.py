"""A node's control group: the same path in every hierarchy of the host, the root of each inside the node."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from manor.kernel import cgroups, mounts


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """What has to be mounted again inside a node to see the same hierarchy."""

    name: str  # of its mount point
    fstype: str
    data: str  # options of mount(2)


def join_everywhere(path: str) -> None:
    """Move this process into the group, in all hierarchies, v2 of a hybrid host included."""
    layout = cgroups.layout()
    cgroups.join(path, layout.controllers, at=layout)
    if layout.unified is not None:
        group = layout.unified / path.lstrip("/")
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def hierarchies() -> list[Hierarchy]:
    """Those of the host, in the order of mounting; one of fstype cgroup2 alone is to be mounted at the top."""
    known = set(map(str, cgroups.layout().hierarchies))
    found: dict[str, Hierarchy] = {}
    for one in mounts.read_mounts():
        if one.target in known and one.fstype in ("cgroup", "cgroup2"):
            found.setdefault(one.target, Hierarchy(Path(one.target).name, one.fstype, mount_data(one)))
    return list(found.values())


def mount_data(mounted: mounts.Mount) -> str:
    """A named hierarchy without controllers is mounted with `none,name=NAME`, others by their controllers."""
    if mounted.fstype == "cgroup2":
        return ""
    plumbing = ("rw", "ro", "clone_children", "release_agent=", "xattr", "noprefix", "cpuset_v2_mode")
    names = [option for option in mounted.super_options if not option.startswith(plumbing)]
    return ",".join(["none", *names] if all(name.startswith("name=") for name in names) else names)
