"""Debian's base system: made once by mmdebstrap, kept as a tarball in the cache, unpacked for each image."""

from __future__ import annotations

import contextlib
import os
import shutil
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.vagga.durable import locked, remove_tree, temporary, write_atomic
from manor.vagga.errors import PreparationError, warn
from manor.vagga.hasher import Hasher
from manor.vagga.packages.host_apt import transport_options
from manor.vagga.state import Distribution

if TYPE_CHECKING:
    from manor.vagga.guest import Guest
    from manor.vagga.steps.debian import Debian

TESTED: Final = ("bookworm", "trixie")
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
WITHOUT_SECURITY: Final = ("sid", "unstable", "experimental")
NOT_UNPACKED: Final = ("./dev", "./proc", "./run", "./sys", "./tmp", "./work")

POLICY: Final = "#!/bin/sh\n# services are not started while an image is built\nexit 101\n"
APT_CONFIGURATION: Final = """\
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


def install_base(guest: Guest, step: Debian) -> None:
    """Unpack the base into the empty root and set it up for building."""
    if guest.state.distribution is not None:
        raise PreparationError(
            f"`!Debian` stands where {guest.state.distribution.name} {guest.state.distribution.codename} is already;"
            " a container has one distribution"
        )
    if step.codename not in TESTED:
        warn(f"`!Debian {step.codename}` is tried although it is not among the tested ones ({', '.join(TESTED)})")
    tarball = _tarball(guest, step)
    skipped = [f"--exclude={name}" for name in NOT_UNPACKED]
    guest.run_on_host(
        ["tar", "--extract", "--file", str(tarball), "--directory", str(guest.root), "--numeric-owner", "--same-owner",
         "--preserve-permissions", "--xattrs", "--xattrs-include=*", *skipped],
        _environment(guest),
    )  # fmt: skip
    guest.state.distribution = Distribution(name="debian", codename=step.codename, architecture=step.architecture)
    if guest.state.epoch is None:
        guest.state.epoch = int(tarball.with_suffix(".epoch").read_text())
    guest.write("/usr/sbin/policy-rc.d", POLICY.encode(), mode=0o755)
    guest.write("/etc/dpkg/dpkg.cfg.d/vagga", b"force-unsafe-io\n")
    guest.write("/etc/apt/apt.conf.d/90vagga", APT_CONFIGURATION.encode())


def _tarball(guest: Guest, step: Debian) -> Path:
    """The base in the cache; made by the first who needs it, while others wait."""
    from manor.vagga.machine import architecture

    name = Hasher(
        "debian base 1", step.codename, step.architecture, step.variant, step.components, step.updates,
        _mirror(guest, step), guest.settings.debian_security_mirror, architecture(),
    ).digest()[:16]  # fmt: skip
    final = guest.cache_directory("bases") / f"debian-{step.codename}-{name}.tar"
    with locked(final.with_suffix(".lock")):
        if not final.exists():
            _bootstrap(guest, step, final)
    return final


def _bootstrap(guest: Guest, step: Debian, final: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise PreparationError("`mmdebstrap` is not installed; install the package `mmdebstrap`")
    if not KEYRING.exists():
        raise PreparationError(f"{KEYRING} is missing; install the package `debian-archive-keyring`")
    unfinished = temporary(final)
    work = unfinished.with_name(unfinished.name + ".d")
    remove_tree(work)
    work.mkdir()
    work.chmod(0o755)
    try:
        guest.run_on_host(
            ["mmdebstrap", "--mode=root", "--format=tar", f"--variant={step.variant}",
             f"--architectures={step.architecture}", f"--components={','.join(step.components)}",
             f"--keyring={KEYRING}", "--skip=output/dev,chroot/mount/sys", "--dpkgopt=force-unsafe-io",
             *(f"--aptopt={line}" for line in transport_options()), *_hooks(step, work / "date"), step.codename,
             str(unfinished), *_sources(guest, step)],
            {**_environment(guest), "TMPDIR": str(work)},
        )  # fmt: skip
        epoch = _parse_date((work / "date").read_text())
        write_atomic(final.with_suffix(".epoch"), str(epoch))
        os.replace(unfinished, final)
    finally:
        remove_tree(work)
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def _parse_date(line: str) -> int:
    """`Date: Sat, 11 Jul 2026 10:16:37 UTC` -> seconds since 1970."""
    return int(parsedate_to_datetime(line.partition(":")[2].strip()).timestamp())


def _mirror(guest: Guest, step: Debian) -> str | None:
    return step.mirror or guest.settings.debian_mirror


def _sources(guest: Guest, step: Debian) -> list[str]:
    """Lines of sources.list; none: mmdebstrap's own default, the official mirrors with updates and security."""
    mirror = _mirror(guest, step)
    if mirror is None:
        return []
    components = " ".join(step.components)
    lines = [f"deb {mirror} {step.codename} {components}"]
    if step.updates and step.codename not in WITHOUT_SECURITY:
        lines.append(f"deb {mirror} {step.codename}-updates {components}")
        if guest.settings.debian_security_mirror:
            lines.append(f"deb {guest.settings.debian_security_mirror} {step.codename}-security {components}")
    return lines


def _hooks(step: Debian, date_file: Path) -> list[str]:
    """Without updates their suites are taken out; the date of the release file is the base's own time."""
    hooks = []
    if not step.updates:
        hooks.append("--setup-hook=sed -i '/-updates\\|-security/d' \"$1\"/etc/apt/sources.list")
    found = f'"$1"/var/lib/apt/lists/*_dists_{step.codename}_*Release'
    hooks.append(f"--customize-hook=cat {found} | grep -m1 '^Date:' > {date_file}")
    return hooks


def _environment(guest: Guest) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
        "LANG": "C.UTF-8",
        **guest.host_variables(),
    }
