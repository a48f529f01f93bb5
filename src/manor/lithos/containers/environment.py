"""Everything the main process finds in its environment, and nothing else."""

from __future__ import annotations

from manor.lithos.files.container import SYSTEMD_VARIABLES
from manor.lithos.files.probes import NOTIFY_PATH
from manor.lithos.rules.settle import Instance

LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID = SYSTEMD_VARIABLES
MICROSECONDS = 1_000_000


def environment(instance: Instance, *, term: str) -> tuple[str, ...]:
    """`NAME=value`, later sources overriding earlier ones. What holds a pid is set by manor-init: see pid_variables."""
    variables = {"TERM": term, "HOME": "/", **dict(instance.environ)}
    activated = instance.container.socket_activated
    if activated:
        variables[LISTEN_FDS] = str(len(activated))
        variables[LISTEN_FDNAMES] = ":".join(activated)
    variables["LITHOS_NAME"] = str(instance.name)
    variables["LITHOS_CONFIG"] = instance.entry.config
    if instance.wants_notify_socket:
        variables["NOTIFY_SOCKET"] = NOTIFY_PATH
    if instance.health is not None and instance.health.probe.notify is not None:
        variables["WATCHDOG_USEC"] = str(round(instance.health.interval_s * MICROSECONDS))
    return tuple(f"{name}={value}" for name, value in variables.items())


def pid_variables(instance: Instance) -> tuple[str, ...]:
    return (*instance.pid_variables, *((LISTEN_PID,) if instance.container.socket_activated else ()))
