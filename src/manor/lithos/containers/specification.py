"""The OCI config of one instance: a pure function of what is wanted and of what was prepared on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.container import bundle, defaults, seccomp
from manor.container.init import init_arguments
from manor.container.runtime import closed_gaps
from manor.kernel.cgroups import Kind
from manor.lithos.containers.environment import environment, pid_variables
from manor.lithos.containers.host import Host
from manor.lithos.errors import StartRefused
from manor.lithos.files.container import NO_LIMIT
from manor.lithos.files.probes import NOTIFY_PATH
from manor.lithos.files.volumes import Persistent, Readonly, Statedir, Tmpfs
from manor.lithos.rules.host_state import HOSTS, RESOLV_CONF
from manor.lithos.rules.settle import Instance
from manor.lithos.rules.volumes import PlannedVolume

INIT_PATH: Final = "/dev/.lithos-init"
UMASK: Final = 0o022
CPU_SHARES_MIN, CPU_SHARES_MAX = 2, 262_144  # what the kernel takes

_VOLUME_OPTIONS: Final = ("nosuid", "nodev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was made on the host for one start."""

    image: Path  # resolved: a runtime refuses links
    state_dir: Path
    devfs: Path | None
    notify_socket: Path | None
    mount_hosts: bool
    mount_resolv_conf: bool
    term: str
    terminal: bool = False
    more_arguments: Sequence[str] = ()


def oci_config(instance: Instance, host: Host, prepared: Prepared) -> bundle.Config:
    fds = passed_fds(instance)
    non_block = [port.fd for port in instance.ports if port.non_block]
    if host.own_init:
        init = init_arguments(pid_env=pid_variables(instance), close=closed_gaps(fds), non_block=non_block)
    else:
        init = ["--"]  # rule V13: such an image needs none of these
    config, limits, who = instance.container, instance.limits, instance.identity
    arguments = (*instance.arguments, *prepared.more_arguments)
    return bundle.Config(
        root=bundle.Root(path=str(prepared.image), readonly=True),
        process=bundle.Process(
            args=(INIT_PATH, *init, config.executable, *arguments),
            env=environment(instance, term=prepared.term),
            cwd=config.workdir,
            user=bundle.User(uid=who.uid, gid=who.gid, umask=UMASK),
            terminal=prepared.terminal,
            capabilities=bundle.Capabilities.same(limits.kept_capabilities),
            rlimits=(bundle.Rlimit(type="RLIMIT_NOFILE", soft=config.fileno_limit, hard=config.fileno_limit),),
            no_new_privileges=limits.no_new_privileges,
        ),
        mounts=tuple(_mounts(instance, host, prepared)),
        linux=bundle.Linux(
            namespaces=tuple(_namespaces(instance, host)),
            uid_mappings=bundle.id_mappings(who.uid_map),
            gid_mappings=bundle.id_mappings(who.gid_map),
            cgroups_path=host.cgroup_path(instance.name.cgroup),
            resources=_resources(instance, host),
            seccomp=_seccomp(limits.seccomp_profile),
            rootfs_propagation="rprivate",
            masked_paths=_paths(limits.masked_paths, defaults.MASKED_PATHS),
            readonly_paths=_paths(limits.readonly_proc_paths, defaults.READONLY_PATHS),
        ),
    )


def passed_fds(instance: Instance) -> dict[int, int]:
    """Descriptor inside -> port, for those beside stdio."""
    return {port.fd: port.address.port for port in instance.ports if port.fd != 0}


def _namespaces(instance: Instance, host: Host) -> Iterator[bundle.Namespace]:
    for kind in ("pid", "ipc", "uts", "mount"):
        yield bundle.Namespace(type=kind)
    if host.layout is not None and host.layout.kind is Kind.V2:
        yield bundle.Namespace(type="cgroup")
    if instance.identity.uid_map:
        yield bundle.Namespace(type="user")


def _mounts(instance: Instance, host: Host, prepared: Prepared) -> Iterator[bundle.Mount]:
    yield defaults.PROC
    if prepared.devfs is not None:
        yield bundle.Mount(
            destination="/dev", type="bind", source=str(prepared.devfs), options=("bind", "ro", "nosuid", "noexec")
        )
    else:
        yield defaults.DEV_TMPFS_READ_ONLY
    yield defaults.DEVPTS
    yield defaults.read_only_bind(host.init, INIT_PATH)
    if prepared.notify_socket is not None:
        yield bundle.Mount(
            destination=NOTIFY_PATH,
            type="bind",
            source=str(prepared.notify_socket),
            options=("bind", "nosuid", "nodev", "noexec"),
        )
    if instance.identity.uid_map:
        # A user namespace that does not own the network namespace cannot mount a sysfs of its own.
        yield defaults.read_only_bind(host.places.sys, "/sys", options=("noexec",))
    else:
        yield defaults.SYSFS
    for wanted, name, path in (
        (prepared.mount_resolv_conf, "resolv.conf", RESOLV_CONF),
        (prepared.mount_hosts, "hosts", HOSTS),
    ):
        if wanted:
            source = str(prepared.state_dir / name)
            yield bundle.Mount(destination=path, type="bind", source=source, options=("bind", *_VOLUME_OPTIONS))
    for volume in instance.volumes:
        yield _volume_mount(volume, host, prepared)


def _volume_mount(planned: PlannedVolume, host: Host, prepared: Prepared) -> bundle.Mount:
    volume = planned.volume
    match volume:
        case Tmpfs():
            options = (f"size={volume.size}", f"mode={volume.mode:o}")
            return bundle.Mount(
                destination=planned.mount_point, type="tmpfs", source="tmpfs", options=(*_VOLUME_OPTIONS, *options)
            )
        case Statedir():
            source, bind = prepared.state_dir / volume.path.strip("/"), ("bind", "rw")
        case Readonly():
            assert planned.host is not None
            source, bind = Path(planned.host.path), ("rbind", "rro" if host.recursive_read_only else "ro")
        case Persistent():
            assert planned.host is not None
            source, bind = Path(planned.host.path), ("rbind", "rw")
    return bundle.Mount(
        destination=planned.mount_point, type="bind", source=str(source), options=(*bind, *_VOLUME_OPTIONS)
    )


def _resources(instance: Instance, host: Host) -> bundle.Resources:
    config, limits = instance.container, instance.limits
    memory = cpu = pids = None
    if config.memory_limit != NO_LIMIT and "memory" in host.controllers:
        swap = config.memory_limit if host.swap_limit else None
        memory = bundle.Memory(limit=config.memory_limit, swap=swap)
    if "cpu" in host.controllers:
        cpu = bundle.Cpu(shares=min(max(config.cpu_shares, CPU_SHARES_MIN), CPU_SHARES_MAX))
    if limits.pids_limit is not None and "pids" in host.controllers:
        pids = bundle.Pids(limit=limits.pids_limit)
    deny_all = bundle.DeviceRule(allow=False, access="rwm")
    return bundle.Resources(devices=(deny_all,), memory=memory, cpu=cpu, pids=pids)


def _seccomp(choice: str) -> Mapping[str, object] | None:
    if choice == "default":
        return seccomp.DEFAULT_PROFILE
    if choice == "unconfined":
        return None
    try:
        profile = json.loads(Path(choice).read_bytes())
    except (OSError, ValueError) as error:
        raise StartRefused(f"`seccomp-profile` {choice}: {error}; give a JSON profile in OCI form") from error
    if not isinstance(profile, dict):
        raise StartRefused(f"`seccomp-profile` {choice} is no JSON object; give a profile in OCI form")
    return profile


def _paths(choice: object, default: Sequence[str]) -> tuple[str, ...]:
    if choice == "default":
        return tuple(default)
    assert isinstance(choice, list | tuple)
    return tuple(choice)
