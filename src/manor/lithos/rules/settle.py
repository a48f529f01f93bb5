"""From the three files of an entry to what one instance is: every rule that needs no look at the host.

`settle` answers with the instance, or with the findings that forbid it (5.2: the entry is *broken*). What only the
host can say (do the image's directories and the volumes exist?) is in `host_state.py` and asked before each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.names import COMMAND_PREFIX, InstanceName
from manor.lithos.files.probes import Probe
from manor.lithos.files.processes import ProcessEntry
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.files.volumes import Persistent, Readonly, Statedir, normal
from manor.lithos.rules import variables
from manor.lithos.rules.findings import Finding, container, processes
from manor.lithos.rules.identity import Identity, identity
from manor.lithos.rules.order import full_name
from manor.lithos.rules.ports import Port, descriptor_findings, ports
from manor.lithos.rules.volumes import PlannedVolume, planned_volumes, volume_above

DEFAULT_INTERVAL_S: Final = {"readiness": 1.0, "health": 5.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledProbe:
    """A probe with its variables filled in. port is for tcp and http."""

    probe: Probe
    port: int | None
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Everything that is known of one instance before the host is looked at."""

    name: InstanceName
    config: str  # the instance config: equality decides about an upgrade
    entry: ProcessEntry
    container: ContainerConfig
    limits: SandboxConfig
    image: Path
    identity: Identity
    arguments: tuple[str, ...]
    environ: tuple[tuple[str, str], ...]  # as configured, without the pid variables
    pid_variables: tuple[str, ...]
    ports: tuple[Port, ...]
    volumes: tuple[PlannedVolume, ...]
    readiness: SettledProbe | None
    health: SettledProbe | None
    after: tuple[str, ...]

    @property
    def wants_notify_socket(self) -> bool:
        probes = (self.container.readiness, self.container.health)
        return any(probe is not None and probe.notify is not None for probe in probes)


def settle(
    name: InstanceName, entry: ProcessEntry, limits: SandboxConfig, config: ContainerConfig, image: Path
) -> tuple[Instance | None, list[Finding]]:
    """One instance, with warnings; or None, with at least one error."""
    entry_name = name.process.removeprefix(COMMAND_PREFIX)  # of a Daemon it never begins so
    fill_in = variables.substitution(config, entry.variables, str(name), entry.config)
    findings = [
        *kind_findings(entry, config),
        *variables.value_findings(config, entry.variables, entry_name),
        *own_findings(config),
    ]
    who, who_findings = identity(config, limits)
    findings += who_findings
    port_list, port_findings = ports(config, limits, entry.variables, fill_in, entry_name)
    findings += port_findings
    uid_map, gid_map = (who.uid_map, who.gid_map) if who else ((), ())
    volumes, volume_findings = planned_volumes(config, limits, uid_map, gid_map)
    findings += volume_findings
    findings += _probe_findings(config, port_list, entry, fill_in)
    findings += _output_findings(config, volumes)
    if entry.ip_addresses:
        findings.append(
            processes(
                (entry_name, "ip_addresses"), "`ip-addresses` are ignored: the sandbox is not bridged", warning=True
            )
        )
    if who is None or any(not finding.warning for finding in findings):
        return None, findings
    return (
        Instance(
            name=name,
            config=entry.instance_config(name.index if not name.is_command else 0),
            entry=entry,
            container=config,
            limits=limits,
            image=image,
            identity=who,
            arguments=tuple(map(fill_in, config.arguments)),
            environ=tuple((key, fill_in(text)) for key, text in config.environ.items() if not variables.is_pid(text)),
            pid_variables=tuple(key for key, text in config.environ.items() if variables.is_pid(text)),
            ports=port_list,
            volumes=volumes,
            readiness=_settled_probe("readiness", config.readiness, fill_in),
            health=_settled_probe("health", config.health, fill_in),
            after=tuple(full_name(name.sandbox, reference) for reference in entry.after),
        ),
        findings,
    )


def own_findings(config: ContainerConfig) -> list[Finding]:
    """What a container config says wrong by itself, whoever uses it: `lithos_check --check-container` shows these."""
    return [*variables.reference_findings(config), *descriptor_findings(config), *_option_findings(config)]


def kind_findings(entry: ProcessEntry, config: ContainerConfig) -> Iterator[Finding]:
    if config.kind not in (entry.kind, "CommandOrDaemon"):
        yield container(
            "kind", f"this is a {config.kind}, the processes file wants a {entry.kind}; `CommandOrDaemon` fits both"
        )


def image_name_problem(image: str, levels: int) -> str | None:
    """What is wrong with an image name (rule V1), or None."""
    parts = image.split("/")
    if image.startswith("/"):
        return f"image `{image}` is absolute; write its name below the sandbox's `image-dir`"
    if any(part in ("", ".", "..") for part in parts):
        return f"image `{image}` has an empty, `.` or `..` component; write a plain name below `image-dir`"
    if len(parts) != levels:
        return f"image `{image}` has {len(parts)} components; `image-dir-levels` of the sandbox asks for {levels}"
    return None


def _option_findings(config: ContainerConfig) -> Iterator[Finding]:
    if config.interactive and config.kind == "Daemon":
        yield container("interactive", "`interactive` is for Commands and is ignored here", warning=True)
    if config.health is not None and config.health.notify is not None and config.readiness is None:
        yield container(
            "health",
            "a `notify` probe for health counts from the start; add `readiness: {notify: systemd}`",
            warning=True,
        )
    for option, probe in (("readiness", config.readiness), ("health", config.health)):
        if probe is not None and probe.file is not None and not _is_on_writable_volume(config, probe.file):
            yield container((option, "file"), f"`{probe.file}` lies on no writable volume; the process cannot make it")


def _is_on_writable_volume(config: ContainerConfig, path: str) -> bool:
    points = [(normal(key), volume) for key, volume in config.volumes.items()]
    above = [(key, volume) for key, volume in points if normal(path).startswith(key.rstrip("/") + "/")]
    return bool(above) and not isinstance(max(above, key=lambda item: len(item[0]))[1], Readonly)


def _probe_findings(
    config: ContainerConfig, held: tuple[Port, ...], entry: ProcessEntry, fill_in: Callable[[str], str]
) -> Iterator[Finding]:
    held_ports = {port.address.port for port in held}
    for option, probe in (("readiness", config.readiness), ("health", config.health)):
        if probe is None or probe.port is None:
            continue
        path = (option, "http", "port") if probe.http is not None else (option, "tcp")
        text = fill_in(probe.port)
        if not text.isdecimal():
            continue  # rule V7 has said it
        if not 1 <= int(text) <= 65535:
            yield container(path, f"port {text} does not exist; ports are 1..65535")
        elif int(text) in held_ports and probe.tcp is not None:
            yield container(
                path, f"port {text} is a socket held by lithos: it accepts without the process; use `notify`"
            )
        elif int(text) in held_ports and entry.instances > 1:
            yield container(path, f"port {text} is shared by {entry.instances} instances, any may answer; use `notify`")


def _output_findings(config: ContainerConfig, planned: tuple[PlannedVolume, ...]) -> Iterator[Finding]:
    if config.stdout_stderr_file is None:
        return
    on = volume_above(planned, normal(config.stdout_stderr_file))
    if on is None or not isinstance(on.volume, Persistent | Statedir):
        yield container(
            "stdout_stderr_file",
            f"`{config.stdout_stderr_file}` lies on no !Persistent or !Statedir volume; the sandbox's log is used",
            warning=True,
        )


def _settled_probe(option: str, probe: Probe | None, fill_in: Callable[[str], str]) -> SettledProbe | None:
    if probe is None:
        return None
    return SettledProbe(
        probe=probe,
        port=None if probe.port is None else int(fill_in(probe.port)),
        interval_s=probe.interval or DEFAULT_INTERVAL_S[option],
    )
