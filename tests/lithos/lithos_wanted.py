"""Short ways to say what is wanted, for tests of the core and of the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.names import InstanceName
from manor.lithos.files.processes import ProcessEntry
from manor.lithos.files.ranges import Span
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.rules.findings import Finding
from manor.lithos.rules.settle import Instance, settle
from manor.lithos.supervision.desired import Desired

IMAGE = Path("/images/first")


def limits(**options: Any) -> SandboxConfig:
    defaults: dict[str, Any] = {
        "allow_users": (Span(1, 100),),
        "allow_groups": (Span(0, 100),),
        "allow_tcp_ports": (Span(8000, 8099),),
        "default_user": 1,
    }
    return SandboxConfig(**{**defaults, **options})


def container(**options: Any) -> ContainerConfig:
    return ContainerConfig(**{"executable": "/bin/x", **options})


def entry(**options: Any) -> ProcessEntry:
    return ProcessEntry(**{"image": "first", "config": "/config/web.yaml", **options})


def settled(
    name: str = "shop/web.0",
    *,
    of: ProcessEntry | None = None,
    sandbox: SandboxConfig | None = None,
    **options: Any,
) -> tuple[Instance | None, list[Finding]]:
    return settle(InstanceName.parse(name), of or entry(), sandbox or limits(), container(**options), IMAGE)


def instance(name: str = "shop/web.0", *, of: ProcessEntry | None = None, **options: Any) -> Instance:
    made, findings = settled(name, of=of, **options)
    assert made is not None, findings
    return made


def errors(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if not finding.warning]


def desired(*instances: Instance, **options: Any) -> Desired:
    return Desired(instances={str(one.name): one for one in instances}, sandboxes=1, **options)
