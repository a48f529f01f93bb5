"""Everything the config files of one machine say, with every problem at its place: the checker's and master's view.

read_configured(master, places) -> Configured -> desired(configured, records) -> what the core is given
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manor.config.errors import Position
from manor.config.loader import ConfigError, Document, Problem
from manor.lithos import process_config
from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.master import Places
from manor.lithos.files.names import InstanceName
from manor.lithos.files.processes import ProcessEntry, ProcessesConfig, entry_of_instance
from manor.lithos.files.record import Record
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.rules.findings import Finding, In
from manor.lithos.rules.order import order_problems
from manor.lithos.rules.settle import Instance, image_name_problem, settle
from manor.lithos.supervision.desired import Broken, Desired


@dataclass(slots=True)
class ConfiguredEntry:
    """One entry of a processes file. container is None when the image or its config cannot be had."""

    name: InstanceName  # of instance 0, for messages
    entry: ProcessEntry
    container: Document[ContainerConfig] | None = None
    instances: list[Instance] = field(default_factory=list)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    order_errors: list[Problem] = field(default_factory=list)  # refused by the checker; the master waits, and goes on


@dataclass(slots=True)
class ConfiguredSandbox:
    """One sandbox and its processes. A document that is None has its problems in `errors`."""

    name: str
    document: Document[SandboxConfig] | None = None
    processes_file: Path | None = None
    processes: Document[ProcessesConfig] | None = None
    entries: dict[str, ConfiguredEntry] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def all_errors(self) -> list[Problem]:
        entries = self.entries.values()
        return [*self.errors, *(p for entry in entries for p in (*entry.errors, *entry.order_errors))]

    @property
    def all_warnings(self) -> list[Problem]:
        return [*self.warnings, *(problem for entry in self.entries.values() for problem in entry.warnings)]


@dataclass(slots=True)
class Configured:
    """All sandboxes by name; error: the directory of them cannot be read."""

    sandboxes: dict[str, ConfiguredSandbox] = field(default_factory=dict)
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class Alternate:
    """A processes file to be looked at instead of the one of a sandbox."""

    sandbox: str
    file: str
    text: bytes


def read_configured(places: Places, alternate: Alternate | None = None) -> Configured:
    """Read every file; nothing raises, every problem is kept where it belongs."""
    configured = Configured()
    try:
        names = process_config.sandbox_names(places.sandboxes)
    except OSError as error:
        text = (
            f"cannot read the directory of sandboxes: {error.strerror}; check `sandboxes-dir` of {places.config_file}"
        )
        configured.error = Problem(Position(str(places.sandboxes), 1, 1), text, "Decode Error")
        return configured
    for name in names:
        mine = alternate if alternate is not None and alternate.sandbox == name else None
        configured.sandboxes[name] = read_one(name, places, mine)
    _check_order(configured)
    return configured


def read_one(name: str, places: Places, alternate: Alternate | None = None) -> ConfiguredSandbox:
    """One sandbox; nothing raises."""
    sandbox = ConfiguredSandbox(name)
    try:
        sandbox.document = process_config.read_sandbox(places.sandbox_file(name), warn=sandbox.warnings.append)
    except ConfigError as error:
        sandbox.errors += error.problems
        return sandbox
    limits = sandbox.document.value
    sandbox.processes_file = places.processes_file(name, limits.config_file)
    if alternate is None and not sandbox.processes_file.exists():
        text = "there is no such processes file; the sandbox runs nothing"
        sandbox.warnings.append(Problem(Position(str(sandbox.processes_file), 1, 1), text, "Decode Error"))
        return sandbox
    try:
        if alternate is not None:
            sandbox.processes = process_config.parse_processes(
                alternate.text, alternate.file, warn=sandbox.warnings.append
            )
        else:
            sandbox.processes = process_config.read_processes(sandbox.processes_file, warn=sandbox.warnings.append)
    except ConfigError as error:
        sandbox.errors += error.problems
        return sandbox
    for process, entry in sorted(sandbox.processes.value.items()):
        sandbox.entries[process] = _read_entry(sandbox, process, entry)
    return sandbox


def _read_entry(sandbox: ConfiguredSandbox, process: str, entry: ProcessEntry) -> ConfiguredEntry:
    assert sandbox.document is not None and sandbox.processes is not None
    limits = sandbox.document.value
    is_command = entry.kind == "Command"
    configured = ConfiguredEntry(InstanceName(sandbox.name, f"cmd.{process}" if is_command else process, 0), entry)
    if (problem := image_name_problem(entry.image, limits.image_dir_levels)) is not None:
        configured.errors.append(sandbox.processes.problem((process, "image"), problem))
        return configured
    image = Path(limits.image_dir, entry.image)
    if not image.is_dir():
        text = f"image `{entry.image}` does not exist in {limits.image_dir}; deliver it, or name one that is there"
        configured.errors.append(sandbox.processes.problem((process, "image"), text))
        return configured
    try:
        configured.container = process_config.read_container(image, entry.config, warn=configured.warnings.append)
    except ConfigError as error:
        named = (problem._replace(text=f"{problem.text} (for `{configured.name.entry}`)") for problem in error.problems)
        configured.errors += named
        return configured
    for index in range(1 if is_command else entry.instances):
        name = InstanceName(sandbox.name, configured.name.process, index)
        instance, findings = settle(name, entry, limits, configured.container.value, image)
        if instance is not None:
            configured.instances.append(instance)
        if index == 0 or instance is None:
            _take(configured, sandbox, findings)
        if instance is None:
            break
    return configured


def _take(configured: ConfiguredEntry, sandbox: ConfiguredSandbox, findings: Iterable[Finding]) -> None:
    for finding in findings:
        problem = positioned(finding, sandbox, configured)
        target = configured.warnings if finding.warning else configured.errors
        if problem not in target:
            target.append(problem)


def positioned(finding: Finding, sandbox: ConfiguredSandbox, entry: ConfiguredEntry) -> Problem:
    """A finding at its place; one about a container config also says which entry it is about."""
    document: Document[SandboxConfig] | Document[ProcessesConfig] | Document[ContainerConfig] | None = {
        In.SANDBOX: sandbox.document,
        In.PROCESSES: sandbox.processes,
        In.CONTAINER: entry.container,
    }[finding.file]
    assert document is not None
    text = finding.text
    if finding.file is not In.PROCESSES:
        text = f"{text} (for `{entry.name.entry}`)"
    return document.problem(finding.path, text)


def _check_order(configured: Configured) -> None:
    entries: dict[str, Mapping[str, ProcessEntry]] = {
        name: sandbox.processes.value for name, sandbox in configured.sandboxes.items() if sandbox.processes is not None
    }
    for sandbox_name, process, index, text in order_problems(entries):
        sandbox = configured.sandboxes[sandbox_name]
        assert sandbox.processes is not None
        problem = sandbox.processes.problem((process, "after", index), text)
        sandbox.entries[process].order_errors.append(problem)


def desired(configured: Configured, records: Iterable[Record]) -> Desired:
    """What errors stop and what they leave alone: nothing that runs is ever stopped by an error in a file."""
    if configured.error is not None:
        return Desired(all_frozen=str(configured.error))
    instances: dict[str, Instance] = {}
    broken: dict[str, Broken] = {}
    frozen: dict[str, str] = {}
    for sandbox in configured.sandboxes.values():
        if sandbox.document is None:
            frozen[sandbox.name] = str(sandbox.errors[0])
        elif sandbox.processes is None and sandbox.errors:
            frozen[sandbox.name] = str(sandbox.errors[0])
            _wanted_by_records(sandbox.name, sandbox.document.value, records, instances)
        else:
            _wanted_by_file(sandbox, instances, broken)
    return Desired(instances=instances, broken=broken, frozen=frozen, sandboxes=len(configured.sandboxes))


def _wanted_by_file(sandbox: ConfiguredSandbox, instances: dict[str, Instance], broken: dict[str, Broken]) -> None:
    for configured in sandbox.entries.values():
        entry = configured.entry
        if entry.kind == "Command":
            continue
        if not configured.errors:
            instances.update({str(instance.name): instance for instance in configured.instances})
            continue
        for index in range(entry.instances):
            name = InstanceName(sandbox.name, configured.name.process, index)
            broken[str(name)] = Broken(entry.image, entry.config, str(configured.errors[0]))


def _wanted_by_records(
    sandbox: str, limits: SandboxConfig, records: Iterable[Record], instances: dict[str, Instance]
) -> None:
    """The processes file is broken: what runs is also restarted, as its record says it was started."""
    for record in records:
        try:
            name = InstanceName.parse(record.name)
            if name.sandbox != sandbox or record.owner != "master":
                continue
            entry = entry_of_instance(record.config)
            if image_name_problem(entry.image, limits.image_dir_levels) is not None:
                continue
            image = Path(limits.image_dir, entry.image)
            instance, _ = settle(name, entry, limits, process_config.read_container(image, entry.config).value, image)
        except (ValueError, ConfigError):
            continue  # it runs on, frozen like the rest of its sandbox, and is not started again
        if instance is not None and instance.config == record.config:
            instances[record.name] = instance
