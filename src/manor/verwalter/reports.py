"""Node reports: what a node tells its leader about itself, and what a leader keeps of them.

What runs is read from lithos' files through its public module; where there is no lithos, `instances` is null.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from manor import VERSION
from manor.config.errors import ConfigError, ManorError
from manor.lithos import process_config as lithos
from manor.verwalter.state_files import DeployedRole

log = logging.getLogger(__name__)

REPORT_BYTES_MAX: Final = 256 * 1024
REPORT_EVERY_S: Final = 30.0
REPORTS_BETWEEN_S: Final = 1.0
IMAGES_MAX: Final = 1_000  # of one sandbox; lithos_clean keeps far fewer


class BadReport(ManorError):
    """node report from 7798…02: `hostname` is missing"""


@dataclass(frozen=True, slots=True)
class Sandbox:
    image_dir: Path
    levels: int  # components of an image's name


@dataclass(frozen=True, slots=True)
class LithosHere:
    """Where lithos keeps what concerns us, as its config files say."""

    status_file: Path
    sandboxes: Mapping[str, Sandbox]


def find_lithos(master: Path) -> LithosHere | None:
    """None on a node without lithos. A sandbox whose file is wrong is left out; lithos_check says why.

    Raises:
        ConfigError: the master config is there, but wrong.
    """
    if not master.exists():
        return None
    places = lithos.Places.of(lithos.read_master(master).value, master)
    sandboxes: dict[str, Sandbox] = {}
    for name in _sandbox_names(places.sandboxes):
        try:
            config = lithos.read_sandbox(places.sandboxes / f"{name}.yaml").value
        except ConfigError as error:
            log.warning("lithos.sandbox_unreadable sandbox=%s reason=%s", name, str(error).splitlines()[0])
            continue
        sandboxes[name] = Sandbox(Path(config.image_dir), config.image_dir_levels)
    return LithosHere(places.runtime / "status.json", sandboxes)


def _sandbox_names(directory: Path) -> list[str]:
    try:
        return lithos.sandbox_names(directory)
    except OSError:  # no sandboxes yet
        return []


def images_of(sandbox: Sandbox) -> list[str]:
    """Names of the images of a sandbox, sorted; an image is a directory as many levels deep as its names are long."""
    return sorted(_directories(sandbox.image_dir, sandbox.levels))[:IMAGES_MAX]


def _directories(directory: Path, levels: int) -> Iterator[str]:
    try:
        entries = [entry for entry in os.scandir(directory) if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:  # not there yet
        return
    for entry in entries:
        if levels == 1:
            yield entry.name
        else:
            for below in _directories(Path(entry.path), levels - 1):
                yield f"{entry.name}/{below}"


def instances_of(status: lithos.MasterStatus | None) -> dict[str, Any] | None:
    """What lithos says of each instance, by name."""
    if status is None:
        return None
    return {
        instance.name: {
            "state": instance.state,
            "since": instance.since,
            "restarts": instance.restarts,
            "image": instance.image,
            "error": instance.error,
        }
        for instance in status.instances
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnState:
    """What the daemon itself contributes to its report."""

    id: str
    hostname: str
    schedule: str | None
    deployed: Mapping[str, DeployedRole]
    failed_roles: tuple[str, ...]
    orphaned_roles: tuple[str, ...]
    errors: Mapping[str, str]


def node_report(
    own: OwnState,
    machine: Any,
    images: Mapping[str, list[str]],
    incoming: Mapping[str, Mapping[str, float]],
    instances: dict[str, Any] | None,
    load: Mapping[str, float],
    now_ms: int,
) -> dict[str, Any]:
    """The document as it travels."""
    return {
        "id": own.id,
        "hostname": own.hostname,
        "version": f"v{VERSION}",
        "at": now_ms,
        "schedule": own.schedule,
        "deployed": {
            name: {"hash": role.hash, "ok": role.ok, "deployment": role.deployment, "at": role.at}
            for name, role in sorted(own.deployed.items())
        },
        "failed_roles": list(own.failed_roles),
        "errors": dict(own.errors),
        "orphaned_roles": list(own.orphaned_roles),
        "machine": machine,
        "sandboxes": {
            name: {"images": list(found), "incoming": dict(incoming.get(name, {}))}
            for name, found in sorted(images.items())
        },
        "instances": instances,
        "jobs": {},
        "load": dict(load),
    }


def accept_report(body: bytes, signer: str | None) -> dict[str, Any]:
    """A report from another node. `signer` is the node whose signature it bore, None where there is no cluster key.

    Raises:
        BadReport: no such document, or it speaks for another node.
    """
    try:
        report = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BadReport(f"node report is no JSON: {error}") from error
    if not isinstance(report, dict):
        raise BadReport("node report is no object")
    for key, kind in (("id", str), ("hostname", str), ("at", int)):
        if not isinstance(report.get(key), kind):
            raise BadReport(f"node report has no `{key}`")
    if signer is not None and report["id"] != signer:
        raise BadReport(f"node report of {report['id']} was signed by {signer}")
    return report


def machine_load() -> dict[str, float]:
    """Load per CPU and used memory, as far as this system tells. Source: getloadavg(3), proc_meminfo(5)."""
    found = {"cpu": round(os.getloadavg()[0] / (os.cpu_count() or 1), 3)}
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return found
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    if "MemTotal" in kib and "MemAvailable" in kib:
        found["memory_used"] = 1024 * (kib["MemTotal"] - kib["MemAvailable"])
    return found
