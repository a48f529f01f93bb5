"""`manor doctor`: has this machine what manor needs? One line for each need, with the remedy where it lacks."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError

KERNEL_LEAST: Final = (5, 6)  # pidfd_open, pidfd_getfd, openat2
CONTROLLERS: Final = ("cpu", "memory", "pids")


class Verdict(Enum):
    GOOD = "ok"
    LACKING = "lacking"  # nothing of this works without it
    WARNING = "warning"  # some of manor works without it


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    verdict: Verdict
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="manor doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON list")
    arguments = parser.parse_args(argv)
    findings = [finding for check in CHECKS for finding in check()]
    if arguments.json:
        print(json.dumps([asdict(finding) | {"verdict": finding.verdict.value} for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.verdict.value:<8} {finding.what:<14} {finding.text}")
    if any(finding.verdict is Verdict.LACKING for finding in findings):
        print("manor doctor: something needed is lacking", file=sys.stderr)
        return 1
    return 0


def kernel() -> Iterator[Finding]:
    release = os.uname().release
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers >= KERNEL_LEAST:
        yield Finding("kernel", Verdict.GOOD, release)
    else:
        yield Finding("kernel", Verdict.LACKING, f"{release}; Linux 5.6 or newer would be right")


def runtime() -> Iterator[Finding]:
    from manor.container.choice import find_runtime

    with tempfile.TemporaryDirectory(prefix="manor-doctor-") as cache:
        try:
            found = find_runtime("auto", cache_dir=Path(cache), user_namespace=os.geteuid() != 0)
        except ManorError as error:
            yield Finding("OCI runtime", Verdict.LACKING, f"{error}; `apt install runc` or `crun`")
            return
    yield Finding("OCI runtime", Verdict.GOOD, f"{found.flavour} {found.version}, {found.path}, ran `true` just now")


def init() -> Iterator[Finding]:
    from manor.container.init import find_init

    try:
        yield Finding("manor-init", Verdict.GOOD, str(find_init()))
    except ManorError as error:
        yield Finding("manor-init", Verdict.LACKING, str(error))


def id_maps() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("id maps", Verdict.GOOD, "root needs none")
        return
    from manor.vagga.errors import PreparationError
    from manor.vagga.id_ranges import maps_for

    missing = [program for program in ("newuidmap", "newgidmap") if shutil.which(program) is None]
    if missing:
        yield Finding("id maps", Verdict.LACKING, f"{' and '.join(missing)} not found; `apt install uidmap`")
        return
    try:
        maps_for(["0-65535"], ["0-65535"])
    except PreparationError as error:
        yield Finding("id maps", Verdict.LACKING, str(error))
        return
    yield Finding("id maps", Verdict.GOOD, "newuidmap, newgidmap and enough subordinate ids")


def overlay() -> Iterator[Finding]:
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines() if line.strip()}
    if "overlay" in known:
        yield Finding("overlayfs", Verdict.GOOD, "the kernel has it")
    else:
        yield Finding("overlayfs", Verdict.WARNING, "not loaded; `modprobe overlay`: vagga's layers need it")


def control_groups() -> Iterator[Finding]:
    from manor.kernel import cgroups

    layout = cgroups.layout()
    kind = layout.kind.name.lower()
    missing = [controller for controller in CONTROLLERS if controller not in layout.controllers]
    if missing:
        text = f"{kind}, without {', '.join(missing)}: limits of containers will not hold"
        yield Finding("control groups", Verdict.WARNING, text)
    else:
        yield Finding("control groups", Verdict.GOOD, f"{kind}, with {', '.join(CONTROLLERS)}")


def programs() -> Iterator[Finding]:
    for program, package, use in (("rsync", "rsync", "`manor push`"), ("ssh", "openssh-client", "`manor push`")):
        found = shutil.which(program)
        if found is not None:
            yield Finding(program, Verdict.GOOD, found)
        else:
            yield Finding(program, Verdict.WARNING, f"not found; {use} needs it: `apt install {package}`")


def machine_id() -> Iterator[Finding]:
    path = Path("/etc/machine-id")
    try:
        good = re.fullmatch(r"[0-9a-f]{32}\n?", path.read_text()) is not None
    except OSError as error:
        yield Finding("machine id", Verdict.LACKING, f"{path}: {error.strerror}; `systemd-machine-id-setup` makes one")
        return
    if good:
        yield Finding("machine id", Verdict.GOOD, str(path))
    else:
        yield Finding("machine id", Verdict.LACKING, f"{path}: is not 32 hexadecimal digits")


def cluster_key() -> Iterator[Finding]:
    from manor.trust.errors import KeyFileError
    from manor.trust.keys import CLUSTER_KEY_FILE, ClusterKeys

    if not CLUSTER_KEY_FILE.exists():
        yield Finding("cluster key", Verdict.WARNING, f"no {CLUSTER_KEY_FILE}; `manor init` makes one for a cluster")
        return
    if not os.access(CLUSTER_KEY_FILE, os.R_OK):
        yield Finding("cluster key", Verdict.GOOD, f"{CLUSTER_KEY_FILE}, which this user may not read, as it should be")
        return
    try:
        ClusterKeys.read()
    except KeyFileError as error:
        yield Finding("cluster key", Verdict.LACKING, str(error))
    else:
        yield Finding("cluster key", Verdict.GOOD, str(CLUSTER_KEY_FILE))


CHECKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (
    kernel,
    runtime,
    init,
    id_maps,
    overlay,
    control_groups,
    programs,
    machine_id,
    cluster_key,
)
