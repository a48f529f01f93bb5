"""The format of `roles.yaml`: what the administrator declares, as frozen data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.errors import ConfigError, Problem
from manor.config.loader import Document, load_file
from manor.config.units import Duration, Pattern, Range, Size

COUNT_MAX = 100_000

Count = Annotated[int, Range(0, COUNT_MAX)]
Percent = Annotated[float, Range(0, 100)]
RoleName = Annotated[
    str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "letters, digits, `_`, `.`, `-`, at most 63, no leading sign")
]


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance needs, or a node has."""

    cpu: float | None = None  # cores
    memory: Annotated[int, Size] | None = None  # bytes
    slots: Count | None = None


class PerNode(msgspec.Struct, frozen=True, kw_only=True):
    per_node: Count


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    servers: tuple[str, ...]
    number_per_server: Count


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where instances may and should be; expressions are `label`, `!label`, `label=value`, `host~glob`."""

    require: tuple[str, ...] = ()
    spread: tuple[str, ...] = ("host",)
    max_per_node: Count | None = None
    pack: bool = False
    prefer: tuple[object, ...] = ()
    distinct: str | None = None
    not_with: tuple[str, ...] = ()
    with_: tuple[str, ...] = msgspec.field(name="with", default=())


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """When an instance of the target version counts."""

    min_age: Duration = 10.0  # an instance must have been ready that long


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """How a role goes from one version to another."""

    strategy: Literal["auto", "rolling", "restart", "pipeline", "canary", "blue-green"] = "auto"
    batch: Annotated[int, Range(1, COUNT_MAX)] | None = None  # instances a substep
    batch_percent: Percent = 10.0
    warmup: Duration = 5.0  # least time of a substep
    max_surge: Count = 1
    max_unavailable: Count = 0
    up_timeout: Duration = 600.0  # target instances not ready for so long turn the update back
    pause_limit: Duration = 1800.0
    image_timeout: Duration = 1800.0
    require_images: bool = True
    on_failure: Literal["rollback", "pause"] = "rollback"
    health: Health = Health()
    steps: tuple[object, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    keep_old: Duration | None = None
    verify: object = None


class VersionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    policy: Literal["manual", "latest", "pinned"] = "manual"
    pin: str | None = None

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if (self.policy == "pinned") != (self.pin is not None):
            yield ("policy",), "`pin` and the policy `pinned` belong together; write both or none"


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    source: str | None = None
    instances: Count | PerNode | Servers = 1
    placement: Placement = Placement()
    resources: Resources | None = None
    ports: dict[str, object] = {}
    variables: dict[str, str] = {}
    priority: Annotated[int, Range(0, 1000)] | None = None
    update: Update | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Without a `schedule` it is there for an administrator to start by hand, wherever the role has instances."""

    source: str | None = None
    variables: dict[str, str] = {}
    schedule: str | None = None
    timezone: str | None = None
    on: object = None
    args: tuple[str, ...] = ()
    timeout: Duration | None = None
    overlap: str | None = None
    start_deadline: Duration | None = None
    retries: Count = 0


class Role(msgspec.Struct, frozen=True, kw_only=True):
    runtime: str | None = None
    template: str
    sandbox: str | None = None
    title: str | None = None
    info: str | None = None
    vars: dict[str, object] = {}
    version: VersionPolicy = VersionPolicy()
    keep_versions: Annotated[int, Range(1, 1000)] = 2
    keep_for: Duration = 86400.0
    update: Update = Update()
    daemons: dict[RoleName, Daemon] = {}
    commands: dict[RoleName, Command] = {}
    priority: Annotated[int, Range(0, 1000)] = 100
    in_minority: Literal["keep", "full", "stop"] = "keep"
    hand_out: bool = False


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    labels: dict[str, str] = {}
    capacity: Resources = Resources()
    reserved: Resources = Resources()


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    schema: Literal["1"]
    vars: dict[str, object] = {}
    nodes: dict[str, NodeFacts] = {}
    node_suspect: Duration = 60.0
    node_dead: Duration = 300.0
    defaults: dict[str, object] = {}
    roles: dict[RoleName, Role]

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.node_suspect > self.node_dead:
            yield ("node_suspect",), "`node-suspect` is longer than `node-dead`; a node is suspected before it is dead"


_LATER_PLACEMENT = ("prefer", "pack", "distinct", "not_with", "with_")
_LATER_UPDATE = ("steps", "before", "after", "keep_old", "verify")
_LATER_COMMAND = ("schedule", "timezone", "on", "args", "timeout", "overlap", "start_deadline", "retries")
_LATER_STRATEGIES = ("pipeline", "canary", "blue-green", "restart")


def read_declaration(path: Path) -> Declaration:
    """Load `roles.yaml`.

    Raises:
        ConfigError: everything that is wrong, and every option that this version does not know what to do with.
    """
    document = load_file(path, Declaration, VERWALTER)
    if problems := list(_unsupported(document)):
        raise ConfigError(problems)
    return document.value


def _unsupported(document: Document[Declaration]) -> Iterable[Problem]:
    """Options of the format that are accepted by no round yet: an error beats silence."""

    def used(part: msgspec.Struct, names: Iterable[str], *path: str) -> Iterable[Problem]:
        defaults = {field.name: field.default for field in msgspec.structs.fields(type(part))}
        for name in names:
            if getattr(part, name) != defaults[name]:
                option = name.rstrip("_").replace("_", "-")
                yield document.problem((*path, option), f"`{option}` is not supported yet; leave it out")

    if document.value.defaults:
        yield document.problem(("defaults",), "`defaults` is not supported yet; write the options into each role")
    for name, role in document.value.roles.items():
        here = ("roles", name)
        if role.hand_out:
            yield document.problem((*here, "hand-out"), "`hand-out` is not supported yet; leave it out")
        for update, path in [
            (role.update, (*here, "update")),
            *[(d.update, (*here, "daemons", key, "update")) for key, d in role.daemons.items() if d.update],
        ]:
            assert update is not None
            yield from used(update, _LATER_UPDATE, *path)
            if update.strategy in _LATER_STRATEGIES:
                text = f"strategy `{update.strategy}` is not supported yet; use `rolling`"
                yield document.problem((*path, "strategy"), text)
        for key, daemon in role.daemons.items():
            at = (*here, "daemons", key)
            yield from used(daemon.placement, _LATER_PLACEMENT, *at, "placement")
            if daemon.ports:
                text = "`ports` is not supported yet; write a fixed port into `variables`"
                yield document.problem((*at, "ports"), text)
        for key, command in role.commands.items():
            yield from used(command, _LATER_COMMAND, *here, "commands", key)
