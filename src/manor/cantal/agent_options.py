"""The command line of cantal-agent. A bad value is one line on standard error and exit status 2."""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manor import VERSION
from manor.cantal.addresses import BadAddress, IpAddress, parse_target
from manor.cantal.machine_id import parse_machine_id
from manor.config.units import parse_duration
from manor.trust.keys import CLUSTER_KEY_FILE
from manor.trust.tokens import TOKENS_FILE

PORT: Final = 22_682
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What was asked for; None where a default depends on the machine."""

    host: IpAddress
    port: int
    bind_localhost: bool
    node_name: str | None
    interval_ms: int
    keep_history_ms: int
    cluster_name: str | None
    machine_id: bytes | None
    storage_dir: Path | None
    config_dir: Path
    key_file: Path | None
    join: tuple[str, ...]
    advertise: tuple[IpAddress, ...]
    token_file: Path | None
    hide_cmdline: bool
    check_config: bool
    log_format: str
    proc_root: Path
    sys_root: Path


def parse_options(argv: Sequence[str] | None) -> AgentOptions:
    """Raises SystemExit: 0 for --help and --version, 2 for a bad flag."""
    given = _parser().parse_args(argv)
    return AgentOptions(
        host=given.host,
        port=given.port,
        bind_localhost=given.bind_localhost,
        node_name=given.node_name,
        interval_ms=given.interval,
        keep_history_ms=given.keep_history,
        cluster_name=given.cluster_name,
        machine_id=given.override_machine_id,
        storage_dir=given.storage_dir,
        config_dir=given.config_dir,
        key_file=_given_or_there(given.cluster_key_file, CLUSTER_KEY_FILE),
        join=tuple(given.join),
        advertise=tuple(given.advertise),
        token_file=_given_or_there(given.api_token_file, TOKENS_FILE),
        hide_cmdline=given.hide_cmdline,
        check_config=given.check_config,
        log_format=given.log_format,
        proc_root=given.proc_root,
        sys_root=given.sys_root,
    )


def host_name() -> str:
    """Raises OSError or UnicodeDecodeError: this machine has no usable name."""
    name = socket.gethostname()
    name.encode("utf-8")
    return name


def _given_or_there(given: Path | None, usual: Path) -> Path | None:
    return given if given is not None else usual if usual.exists() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cantal-agent",
        description="Measure this machine every two seconds, keep an hour of it, find the other agents.",
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-p", "--port", type=_whole(1, 65_535), default=PORT, help="port of HTTP (TCP) and gossip (UDP)")
    add("-h", "--host", type=_ip, default=_ip("127.0.0.1"), metavar="IP", help="address to bind; an IP literal")
    add("--bind-localhost", action="store_true", help="listen for HTTP on 127.0.0.1 and ::1 too")
    add("-n", "--node-name", type=_name(253), metavar="NAME", help="name announced to peers (the host name)")
    add("-i", "--interval", type=_whole(200, 60_000), default=2_000, metavar="MS", help="scan interval (2000)")
    add("--keep-history", type=_history, default=3_600_000, metavar="DURATION", help="span kept (1 hour)")
    add("--cluster-name", type=_name(64), metavar="NAME", help="turns gossip on")
    add("--override-machine-id", type=_machine_id, metavar="HEX", help="identity, for several agents on a machine")
    add("-d", "--storage-dir", type=Path, metavar="DIR", help="history, peers and identity survive restarts there")
    add("-c", "--config-dir", type=Path, default=Path("/etc/cantal"), metavar="DIR", help="(/etc/cantal)")
    add("--cluster-key-file", type=Path, metavar="FILE", help=f"pre-shared key ({CLUSTER_KEY_FILE} if it is there)")
    add("--join", type=_target, action="append", default=[], metavar="HOST[:PORT]", help="an agent to get to know")
    add("--advertise", type=_ip, action="append", default=[], metavar="IP", help="announce this address instead")
    add("--api-token-file", type=Path, metavar="FILE", help=f"who may ask ({TOKENS_FILE} if it is there)")
    add("--hide-cmdline", action="store_true", help="show process names in place of command lines")
    add("--check-config", action="store_true", help="print every problem of the configuration, start nothing")
    add("--log-format", choices=("text", "json"), default="text")
    add("--proc-root", type=Path, default=Path("/proc"), metavar="DIR")
    add("--sys-root", type=Path, default=Path("/sys"), metavar="DIR")
    add("--version", action="version", version=VERSION)
    add("--help", action="help", help="show this and exit")
    return parser


def _fail(text: str) -> Any:
    raise argparse.ArgumentTypeError(text)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        return int(_fail(f"`{text}` is not possible; {low} to {high} would be right"))

    return parse


def _ip(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no IP address; one such as 192.168.1.2 would be right") from None


def _name(longest: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if NAME.fullmatch(text) and len(text) <= longest:
            return text
        return str(_fail(f"`{text}` is no name; 1 to {longest} characters of A-Z a-z 0-9 . _ - would be right"))

    return parse


def _history(text: str) -> int:
    try:
        seconds = parse_duration(text, bare_seconds=True)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 60 <= seconds <= 86_400:
        _fail(f"`{text}` is not possible; 1 minute to 24 hours would be right")
    return int(seconds * 1000)


def _machine_id(text: str) -> bytes:
    found = parse_machine_id(text)
    return found if found is not None else bytes(_fail(f"`{text}` is no machine id; 32 hex digits would be right"))


def _target(text: str) -> str:
    try:
        parse_target(text, PORT)
    except BadAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
