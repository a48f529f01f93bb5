"""A processes file: what runs in one sandbox. Written by the orchestrator, installed by lithos_switch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from manor.config.units import AbsolutePath, Range
from manor.lithos.files.names import COMMAND_PREFIX, is_process_name
from manor.lithos.files.ranges import IpAddress
from manor.lithos.files.sandbox import SecretsNamespace


class ProcessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One named item: a Daemon with its instances, or a Command for lithos_cmd."""

    kind: Literal["Daemon", "Command"] = "Daemon"
    instances: Annotated[int, Range(0, 100_000)] = 1
    image: str
    config: AbsolutePath
    variables: dict[str, str] = {}
    ip_addresses: tuple[IpAddress, ...] = ()
    extra_secrets_namespaces: tuple[SecretsNamespace, ...] = ()
    after: tuple[str, ...] = ()

    def instance_config(self, index: int) -> str:
        """The canonical JSON of one instance: equal strings mean that a running container is up to date."""
        document: dict[str, Any] = {"instances": 1, "image": self.image, "config": self.config}
        if self.variables:
            document["variables"] = dict(sorted(self.variables.items()))
        if self.extra_secrets_namespaces:
            document["extra_secrets_namespaces"] = list(self.extra_secrets_namespaces)
        if index < len(self.ip_addresses):
            document["ip_address"] = self.ip_addresses[index]
        document["kind"] = self.kind
        return _compact(document)


ProcessesConfig = dict[str, ProcessEntry]
"""PROCESSES_DIR/NAME.yaml: process name -> entry."""


def name_problems(entries: Mapping[str, ProcessEntry]) -> Iterable[tuple[tuple[str | int, ...], str]]:
    """Names that no instance could bear."""
    for name in entries:
        if name.startswith(COMMAND_PREFIX):
            yield (name,), f"process name `{name}` starts with `{COMMAND_PREFIX}`, which is kept for commands"
        elif not is_process_name(name):
            yield (name,), f"process name `{name}` has other characters than letters, digits, `_`, `.` and `-`"


def entry_of_instance(instance_config: str) -> ProcessEntry:
    """The entry of one instance, from the canonical JSON in its record. Raises ValueError for anything else."""
    try:
        document = json.loads(instance_config)
        address = document.pop("ip_address", None)
        document["ip_addresses"] = () if address is None else (address,)
        return msgspec.convert(document, ProcessEntry)
    except (TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ValueError(f"not an instance config: {error}") from error


def config_log_document(entries: Mapping[str, ProcessEntry]) -> str:
    """The compact JSON of a whole file, as the config log keeps it."""
    return _compact({name: _log_entry(entry) for name, entry in sorted(entries.items())})


def _log_entry(entry: ProcessEntry) -> dict[str, Any]:
    optional = {
        "variables": dict(sorted(entry.variables.items())),
        "extra_secrets_namespaces": list(entry.extra_secrets_namespaces),
        "ip_addresses": list(entry.ip_addresses),
    }
    return {
        "instances": entry.instances,
        "image": entry.image,
        "config": entry.config,
        **{key: value for key, value in optional.items() if value},
        "kind": entry.kind,
    }


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
