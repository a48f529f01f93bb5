"""The listening sockets of one instance: which port at which descriptor (rule V8)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from manor.lithos.files.container import SYSTEMD_VARIABLES, ContainerConfig, TcpPort, TcpPortVariable
from manor.lithos.files.ranges import contains, shown
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.rules.findings import Finding, container, processes

FIRST_ACTIVATED_FD: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """What identifies a shared socket on the host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The reverse of str(); ValueError for anything else."""
        host, _, port = text.rpartition(":")
        return cls(str(ipaddress.ip_address(host.strip("[]"))), int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A socket one instance gets at `fd`."""

    address: Address
    fd: int
    backlog: int = 128
    reuse_addr: bool = True
    reuse_port: bool = False
    non_block: bool = False

    @property
    def shared(self) -> bool:
        return not self.reuse_port


def ports(
    config: ContainerConfig, limits: SandboxConfig, values: Mapping[str, str], fill_in: Callable[[str], str], entry: str
) -> tuple[tuple[Port, ...], list[Finding]]:
    """All ports in order of descriptor. Variables without a valid value are left out: V7 has reported them."""
    found: list[Port] = []
    findings: list[Finding] = []
    for key, options in config.tcp_ports.items():
        number = fill_in(key).strip()
        if not number.isdecimal():
            if "@{" not in number:
                findings.append(container(("tcp_ports", key), f"`{number}` is not a port; write a number 1..65535"))
        elif not 1 <= int(number) <= 65535:
            findings.append(container(("tcp_ports", key), f"port {number} does not exist; ports are 1..65535"))
        else:
            findings += _allowed(int(number), limits, container(("tcp_ports", key), ""))
            findings += _new_port(found, int(number), ("tcp_ports", key))
            found.append(_declared(int(number), options))
    for offset, name in enumerate(config.socket_activated):
        number = values.get(name, "")
        if _is_port(number):
            findings += _new_port(found, int(number), ("variables", name))
            found.append(_activated(int(number), FIRST_ACTIVATED_FD + offset))
    for name, value in values.items():
        if isinstance(config.variables.get(name), TcpPortVariable) and _is_port(value):
            findings += _allowed(int(value), limits, processes((entry, "variables", name), ""))
    return tuple(sorted(found, key=lambda port: port.fd)), [*dict.fromkeys(findings)]


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535


def _declared(number: int, options: TcpPort) -> Port:
    return Port(
        address=Address(str(ipaddress.ip_address(options.host)), number),
        fd=options.fd,
        backlog=options.listen_backlog,
        reuse_addr=options.reuse_addr,
        reuse_port=options.reuse_port,
        non_block=options.set_non_block,
    )


def _activated(number: int, fd: int) -> Port:
    return Port(address=Address("0.0.0.0", number), fd=fd)


def _allowed(number: int, limits: SandboxConfig, place: Finding) -> Iterator[Finding]:
    if not contains(limits.allow_tcp_ports, number):
        allowed = shown(limits.allow_tcp_ports)
        yield Finding(place.file, place.path, f"port {number} is not in the sandbox's `allow-tcp-ports`: {allowed}")


def _new_port(found: list[Port], number: int, path: tuple[str, ...]) -> Iterator[Finding]:
    if any(port.address.port == number for port in found):
        yield container(path, f"port {number} is given twice; one item per port")


def descriptor_findings(config: ContainerConfig) -> Iterator[Finding]:
    """What can be said of the descriptors without knowing any value."""
    activated = range(FIRST_ACTIVATED_FD, FIRST_ACTIVATED_FD + len(config.socket_activated))
    used: dict[int, str] = {}
    for key, options in config.tcp_ports.items():
        path = ("tcp_ports", key, "fd")
        if options.fd in used:
            yield container(path, f"fd {options.fd} is used by port {used[options.fd]} already; give each its own")
        elif options.fd in activated:
            name = config.socket_activated[options.fd - FIRST_ACTIVATED_FD]
            yield container(path, f"fd {options.fd} is the one of variable `{name}` by its `activation: systemd`")
        if options.fd >= config.fileno_limit:
            yield container(path, f"fd {options.fd} is not below `fileno-limit` {config.fileno_limit}")
        if options.external:
            yield container(
                ("tcp_ports", key, "external"), "`external` is for bridged sandboxes, which are not supported yet"
            )
        used[options.fd] = key
    if config.socket_activated:
        for name in SYSTEMD_VARIABLES:
            if name in config.environ:
                yield container(("environ", name), f"`{name}` is set by `activation: systemd`; leave it out here")
