"""What only this machine can say of an instance: image, volumes, mount points, executable (rules V10 and V12).

Asked by the checker, and again before each start: what was there may be gone. A runtime would silently create missing
mount points and the working directory *in the image on the host*; that is why they are looked for here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.kernel.inside import open_beneath_no_symlinks, stat_inside
from manor.lithos.files.volumes import Persistent, Readonly, Statedir, Tmpfs, normal
from manor.lithos.rules.findings import Finding, container
from manor.lithos.rules.settle import Instance
from manor.lithos.rules.volumes import HostPart, PlannedVolume, is_below, volume_above

NEEDED_DIRECTORIES: Final = ("/dev", "/proc", "/sys")
HOSTS: Final = "/etc/hosts"
RESOLV_CONF: Final = "/etc/resolv.conf"


def host_findings(instance: Instance, devfs: Path | None, *, starting: bool) -> Iterator[Finding]:
    """Errors and warnings of one instance. devfs: the directory shown as /dev, None for a private tmpfs.

    Missing host directories are errors only if it is to start now: they may come with the first start of a database.
    """
    for needed in NEEDED_DIRECTORIES:
        if not _is_directory(instance.image, needed):
            yield container((), f"the image has no directory `{needed}`; make it when the image is built")
    for volume in instance.volumes:
        yield from _volume_findings(instance, volume, devfs, starting=starting)
    yield from _workdir_findings(instance)
    yield from _executable_findings(instance)
    yield from _mounted_file_findings(instance)


def _volume_findings(
    instance: Instance, volume: PlannedVolume, devfs: Path | None, *, starting: bool
) -> Iterator[Finding]:
    path = ("volumes", volume.mount_point)
    if volume.host is not None:
        makes = isinstance(volume.volume, Persistent) and volume.volume.mkdir
        try:
            os.close(open_host_part(volume.host))
        except FileNotFoundError:
            if not makes:
                advice = "make it" if isinstance(volume.volume, Readonly) else "make it, or say `mkdir: true`"
                text = f"volume `{volume.mount_point}`: `{volume.host.path}` does not exist on the host; {advice}"
                yield container(path, text, warning=not starting)
        except OSError as error:
            text = f"volume `{volume.mount_point}`: `{volume.host.path}`: {error.strerror}; no link may be in it"
            yield container(path, text)
    if not _has_mount_point(instance, volume.mount_point, devfs):
        yield container(
            path, f"mount point `{volume.mount_point}` does not exist in the image; make it when the image is built"
        )


def _has_mount_point(instance: Instance, path: str, devfs: Path | None) -> bool:
    above = volume_above(instance.volumes, path)
    if above is not None and isinstance(above.volume, Tmpfs | Statedir):
        return True  # made by the runtime, in something that is new
    if above is not None:
        assert above.host is not None
        inner = path.removeprefix(above.mount_point)
        return _is_directory(Path(above.host.path), inner)
    if is_below(path, "/dev"):
        return devfs is None or _is_directory(devfs, path.removeprefix("/dev"))
    return _is_directory(instance.image, path)


def _workdir_findings(instance: Instance) -> Iterator[Finding]:
    path = normal(instance.container.workdir)
    above = volume_above(instance.volumes, path, or_at=True)
    if above is None:
        exists = _is_directory(instance.image, path)
    elif above.mount_point == path:
        exists = True
    else:
        exists = above.host is not None and _is_directory(Path(above.host.path), path.removeprefix(above.mount_point))
    if not exists:
        yield container("workdir", f"working directory `{path}` does not exist in image or volumes; make it")


def _executable_findings(instance: Instance) -> Iterator[Finding]:
    path = normal(instance.container.executable)
    if volume_above(instance.volumes, path) is not None:
        return
    try:
        found = stat_inside(instance.image, path)
    except OSError as error:
        yield container("executable", f"`{path}`: {error.strerror} in the image; name a program that is there")
        return
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
        yield container("executable", f"`{path}` is not an executable file; name one, or set its mode in the image")


def _mounted_file_findings(instance: Instance) -> Iterator[Finding]:
    """`mount: true` asks for something regular to mount over."""
    config = instance.container
    for option, path, choice in (
        ("resolv_conf", RESOLV_CONF, config.resolv_conf.mount),
        ("hosts_file", HOSTS, config.hosts_file.mount),
    ):
        if choice and not is_regular_in_image(instance.image, path):
            yield container((option, "mount"), f"`{path}`: nothing regular to mount over; make an empty file there")


def is_regular_in_image(image: Path, path: str) -> bool:
    """Is it a regular file of the image, in a directory that is none by a link?"""
    try:
        parent = stat_inside(image, os.path.dirname(path), follow=False)
        return stat.S_ISDIR(parent.st_mode) and stat.S_ISREG(stat_inside(image, path, follow=False).st_mode)
    except OSError:
        return False


def open_host_part(part: HostPart) -> int:
    """A descriptor (O_PATH) of what a volume shows. Raises OSError: ELOOP when a link was planted below `base`."""
    base = os.open(part.base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not part.beneath:
        return base
    try:
        return open_beneath_no_symlinks(base, part.beneath, os.O_PATH)
    finally:
        os.close(base)


def _is_directory(root: Path, path: str) -> bool:
    try:
        return stat.S_ISDIR(stat_inside(root, path.strip("/") or "/").st_mode)
    except OSError:
        return False
