"""The state dir of one instance: made anew for each start, with `hosts` and `resolv.conf` in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.lithos.errors import StartRefused
from manor.lithos.files.names import InstanceName
from manor.lithos.files.volumes import Statedir
from manor.lithos.rules.host_state import HOSTS, RESOLV_CONF, is_regular_in_image
from manor.lithos.rules.settle import Instance

STATE_DIR_MODE: Final = 0o1777
LOCALHOST: Final = "127.0.0.1 localhost.localdomain localhost"


def state_dir(state: Path, name: InstanceName) -> Path:
    return state / name.sandbox / f"{name.process}.{name.index}"


def make_state_dir(state: Path, instance: Instance) -> Path:
    """Remove what an earlier start left and make it again, with the directories of !Statedir volumes."""
    directory = state_dir(state, instance.name)
    remove_state_dir(state, instance.name)
    directory.parent.mkdir(mode=0o755, exist_ok=True)
    directory.mkdir()
    directory.chmod(STATE_DIR_MODE)
    for planned in instance.volumes:
        if isinstance(planned.volume, Statedir) and planned.volume.path.strip("/"):
            inner = directory / planned.volume.path.strip("/")
            inner.mkdir(parents=True, exist_ok=True)
            os.chown(inner, *planned.owner)
            inner.chmod(planned.volume.mode)
    return directory


def remove_state_dir(state: Path, name: InstanceName) -> None:
    """With all that the container has put into it; rmtree follows no links."""
    directory = state_dir(state, name)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
    with contextlib.suppress(OSError):  # not empty, or not there
        directory.parent.rmdir()


def write_hosts(instance: Instance, directory: Path) -> bool:
    """Write `hosts` where something is to be in it; is it to be mounted over the image's?"""
    options = instance.container.hosts_file
    text = "".join(_hosts_parts(instance))
    produced = options.copy_from_host or bool(text)
    if produced:
        _write(directory / "hosts", text.encode(errors="surrogateescape"))
    return _is_mounted(instance, HOSTS, options.mount, produced=produced)


def _hosts_parts(instance: Instance) -> Iterator[str]:
    options, limits = instance.container.hosts_file, instance.limits
    if options.copy_from_host:
        yield _read(limits.hosts_file, "hosts-file").decode(errors="surrogateescape") + "\n"
    if options.with_localhost:
        yield f"{LOCALHOST}\n"
    if options.with_public_hostname:
        name = socket.gethostname()
        yield f"{address_of_this_host(name)} {name}\n"
    for name, address in sorted(limits.additional_hosts.items()):
        yield f"{address} {name}\n"


def address_of_this_host(name: str) -> str:
    """Raises StartRefused when the host does not know its own address."""
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        raise StartRefused(
            f"`hosts-file.public-hostname`: the host's name `{name}` has no address: {error.strerror}; "
            "add it to /etc/hosts of the host"
        ) from error


def write_resolv_conf(instance: Instance, directory: Path) -> bool:
    """Write `resolv.conf` if it is to be copied; is it to be mounted over the image's?"""
    options = instance.container.resolv_conf
    if options.copy_from_host:
        _write(directory / "resolv.conf", _read(instance.limits.resolv_conf, "resolv-conf"))
    return _is_mounted(instance, RESOLV_CONF, options.mount, produced=options.copy_from_host)


def _is_mounted(instance: Instance, path: str, choice: bool | None, *, produced: bool) -> bool:
    regular = is_regular_in_image(instance.image, path)
    if choice is None:
        return produced and regular
    if choice and not (produced and regular):
        raise StartRefused(f"{path}: nothing regular to mount over")
    return choice


def _read(source: str, option: str) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise StartRefused(f"`{option}` {source}: {error.strerror}; name a file that can be read") from error


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
