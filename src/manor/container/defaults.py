"""Mounts and hidden paths that nearly every container has."""

from __future__ import annotations

import os
from typing import Final

from manor.container.bundle import Mount

# What tells of the host, or wakes hardware, even to a reader without privileges.
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)

READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

PROC: Final = Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "nodev", "noexec"))

# The runtime makes the standard nodes (null, zero, full, random, urandom, tty, ptmx, fd, stdin, stdout, stderr) in it,
# and makes it read-only afterwards if it says `ro`.
DEV_TMPFS: Final = Mount(
    destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "noexec", "strictatime", "mode=755")
)
DEV_TMPFS_READ_ONLY: Final = Mount(
    destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "noexec", "strictatime", "mode=755", "ro")
)

# No gid option: the group tty may not be mapped in the container's user namespace.
DEVPTS: Final = Mount(
    destination="/dev/pts",
    type="devpts",
    source="devpts",
    options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
)

# A new sysfs belongs to the network namespace of whoever mounts it. In a user namespace that does not own the network
# namespace it cannot be mounted: then bind a sysfs instead.
SYSFS: Final = Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "nodev", "noexec", "ro"))


def read_only_bind(source: str | os.PathLike[str], destination: str, *, options: tuple[str, ...] = ()) -> Mount:
    """A bind of a file or directory, read-only with nosuid and nodev."""
    return Mount(
        destination=destination,
        type="bind",
        source=os.fspath(source),
        options=("bind", "ro", "nosuid", "nodev", *options),
    )
