"""What lithos_check and lithos_switch look at: every file, every rule, and this machine. Problems are data here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from manor.config.loader import ConfigError, Problem
from manor.lithos import process_config
from manor.lithos.configured import (
    Alternate,
    Configured,
    ConfiguredEntry,
    ConfiguredSandbox,
    positioned,
    read_configured,
)
from manor.lithos.containers.host import devfs_dir, find_programs
from manor.lithos.containers.launch import init_problems
from manor.lithos.errors import Fatal
from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.master import MasterConfig, Places
from manor.lithos.rules.findings import container, sandbox
from manor.lithos.rules.host_state import host_findings
from manor.lithos.rules.settle import own_findings

RELAXATIONS: Final = (
    "no_new_privileges",
    "seccomp_profile",
    "capabilities",
    "masked_paths",
    "readonly_proc_paths",
    "pids_limit",
)


@dataclass(slots=True)
class Report:
    """Lines for people. sandboxes: name -> errors, so that a switch can tell its own from those of others."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sandboxes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def all_errors(self) -> list[str]:
        return [*self.errors, *(line for lines in self.sandboxes.values() for line in lines)]


def check(config: MasterConfig, places: Places, alternate: Alternate | None, say: Callable[[str], None]) -> Report:
    """Everything that `lithos_tree` would meet. say: what was looked at."""
    report = Report()
    own_init = _check_programs(config, report)
    try:
        devfs = devfs_dir(config)
    except Fatal as error:
        report.errors.append(str(error))
        devfs = None
    configured = read_configured(places, alternate)
    if configured.error is not None:
        report.errors.append(str(configured.error))
    if alternate is not None and alternate.sandbox not in configured.sandboxes and configured.error is None:
        report.errors.append(
            f"there is no sandbox `{alternate.sandbox}`; make {places.sandbox_file(alternate.sandbox)}"
        )
    for one in configured.sandboxes.values():
        _check_sandbox(one, places, devfs, report, own_init=own_init, say=say)
    _check_host_name(configured, report)
    return report


def _check_programs(config: MasterConfig, report: Report) -> bool:
    """Are runtime and init there, and is it our own init?"""
    from tempfile import TemporaryDirectory

    from manor.container.init import is_own_init

    try:
        with TemporaryDirectory() as nothing_remembered:
            _, init = find_programs(config, Path(nothing_remembered))
        return is_own_init(init)
    except Fatal as error:
        report.errors.append(str(error))
        return True


def _check_sandbox(
    one: ConfiguredSandbox,
    places: Places,
    devfs: Path | None,
    report: Report,
    *,
    own_init: bool,
    say: Callable[[str], None],
) -> None:
    say(f"sandbox {one.name}: {places.sandbox_file(one.name)}")
    if one.processes_file is not None:
        say(f"processes of {one.name}: {one.processes_file}")
    lines = report.sandboxes.setdefault(one.name, [])
    problems = [*one.all_errors, *_empty_allowances(one)]
    warnings = list(one.all_warnings)
    if one.document is not None:
        limits = one.document.value
        for name in RELAXATIONS:
            if getattr(limits, name) != getattr(type(limits)(), name):
                say(f"sandbox {one.name} relaxes or changes `{name.replace('_', '-')}`")
        if not Path(limits.image_dir).is_dir():
            warnings.append(one.document.problem(("image_dir",), f"`image-dir` {limits.image_dir} is no directory"))
    for entry in one.entries.values():
        if entry.container is not None:
            say(f"container config of {entry.name.entry}: {entry.entry.config} in {entry.entry.image}")
        for problem, is_warning in _host_problems(one, entry, devfs, own_init=own_init):
            (warnings if is_warning else problems).append(problem)
    lines += unique(map(str, problems))
    report.warnings += unique(map(str, warnings))


def _host_problems(
    one: ConfiguredSandbox, entry: ConfiguredEntry, devfs: Path | None, *, own_init: bool
) -> Iterator[tuple[Problem, bool]]:
    """Instances differ in nothing that the host could say, so the first stands for all."""
    if not entry.instances:
        return
    instance = entry.instances[0]
    for finding in host_findings(instance, devfs, starting=False):
        yield positioned(finding, one, entry), finding.warning
    if not own_init:
        for text in init_problems(instance):
            yield positioned(container((), text), one, entry), False


def _empty_allowances(one: ConfiguredSandbox) -> Iterator[Problem]:
    if one.document is None:
        return
    for option in ("allow_users", "allow_groups"):
        if not getattr(one.document.value, option):
            name = option.replace("_", "-")
            finding = sandbox(option, f"`{name}` is empty; nothing can start, so list the ids that may be used")
            yield one.document.problem(finding.path, finding.text)


def _check_host_name(configured: Configured, report: Report) -> None:
    needed_by = [
        instance.name
        for one in configured.sandboxes.values()
        for entry in one.entries.values()
        for instance in entry.instances
        if instance.container.hosts_file.with_public_hostname
    ]
    if host_address() is not None:
        return
    text = f"the host's name `{socket.gethostname()}` has no address; add it to /etc/hosts"
    if needed_by:
        for sandbox_name in sorted({name.sandbox for name in needed_by}):
            report.sandboxes[sandbox_name].append(f"{text} (`hosts-file.public-hostname` needs it)")
    else:
        report.warnings.append(text)


def host_address() -> str | None:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return None


def check_container_file(path: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings of one container config by itself, without any host config."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    try:
        document = process_config.load_container_file(path, warn=warnings.append)
    except ConfigError as error:
        return [str(problem) for problem in error.problems], [str(problem) for problem in warnings]
    config: ContainerConfig = document.value
    for finding in own_findings(config):
        (warnings if finding.warning else problems).append(document.problem(finding.path, finding.text))
    return [str(problem) for problem in problems], [str(problem) for problem in warnings]


def unique(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))
