"""verwalter: decide what runs where. Start reading here.

Options and settings are read, the node's place in its cluster is settled, what is insecure is refused; then `Daemon`
puts the parts together and runs them until it is told to stop. What the parts do: `node.py`.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from manor import VERSION
from manor.config.errors import ManorError
from manor.config.loader import ConfigError
from manor.trust.keys import CLUSTER_KEY_FILE, ClusterKeys
from manor.trust.tokens import TOKENS_FILE, Tokens
from manor.verwalter.identity import Identity, full_name, machine_id
from manor.verwalter.settings import Settings, read_settings

LOG_LEVELS: Final = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}


class UnusableStart(ManorError):
    """configuration, sandbox config or listening address unusable"""

    exit_status = 3


class Insecure(ManorError):
    """listening on 0.0.0.0 needs a cluster key and tokens; …"""

    exit_status = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything the daemon needs to know before it starts."""

    identity: Identity
    settings: Settings
    settings_file: Path
    settings_must_exist: bool
    config_dir: Path
    storage_dir: Path
    log_dir: Path
    cantal_url: str
    dry_run: bool
    force_leader: bool
    insecure: bool
    key_file: Path = CLUSTER_KEY_FILE
    tokens_file: Path = TOKENS_FILE


@dataclass(frozen=True, slots=True)
class Secrets:
    """What `/etc/manor` holds."""

    cluster_keys: ClusterKeys | None
    tokens: Tokens | None


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    configure_logging(arguments)
    try:
        if arguments.check:
            from manor.verwalter.checking import check  # only --check needs it

            return check(arguments.config_dir, arguments.config or arguments.config_dir / "verwalter.yaml")
        options = read_options(arguments)
        secrets = read_secrets(options)
        warn_of = refuse_insecure(options, secrets)
        from manor.verwalter.running import run  # aiohttp takes its time: not for `--version` or a refusal

        return run(options, secrets, warn_of)
    except ManorError as error:
        for line in str(error).strip().splitlines():
            print(f"verwalter: {line}", file=sys.stderr)
        return 3 if isinstance(error, ConfigError) else error.exit_status


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("verwalter", description="Decide what runs where on the nodes of a cluster.")
    add = parser.add_argument
    add("--config-dir", type=Path, default=Path("/etc/verwalter"), metavar="DIR")
    add("--storage-dir", type=Path, default=Path("/var/lib/verwalter"), metavar="DIR")
    add("--log-dir", type=Path, default=Path("/var/log/verwalter"), metavar="DIR")
    add("--config", type=Path, metavar="FILE", help="settings; by default verwalter.yaml of the config directory")
    add("--host", metavar="ADDR", help="listening address, TCP and UDP; 127.0.0.1 by default")
    add("--port", type=int, metavar="N", help="8379 by default; equal on all nodes")
    add("--hostname", metavar="NAME", help="this node's name in the schedule; by default the host name")
    add("--name", metavar="NAME", help="this node's name for people; by default the qualified host name")
    add("--override-machine-id", metavar="HEX32", help="instead of /etc/machine-id")
    add("--cantal-url", default="http://127.0.0.1:22682", metavar="URL", help="the local cantal")
    add("--use-sudo", action="store_true", help="start verwalter-render through sudo")
    add("-n", "--dry-run", action="store_true", help="render without changing this machine")
    add("--debug-force-leader", action="store_true", help="lead after the start time-out, whatever peers there are")
    add("--allow-minority-cluster", action="store_true", help="count only peers that respond when votes are counted")
    add("--no-candidate", action="store_true", help="vote and follow, never stand for election")
    add("--default-frontend", metavar="NAME", help="the directory of frontend/ served at /; `common` by default")
    add("--insecure", action="store_true", help="listen for others without a cluster key or tokens")
    add("--check", action="store_true", help="read every configuration, print problems, exit")
    add("--key-file", type=Path, default=CLUSTER_KEY_FILE, metavar="FILE", help="the cluster key")
    add("--tokens-file", type=Path, default=TOKENS_FILE, metavar="FILE", help="who may ask")
    add("--log-level", choices=sorted(LOG_LEVELS), metavar="LEVEL", help="error, warn, info, debug or trace")
    add("--log-format", choices=("text", "json"), default="text")
    add("--log-id", action="store_true", help="the machine id in each log line instead of the module")
    add("--version", action="version", version=f"verwalter v{VERSION}")
    return parser.parse_args(argv)


def read_options(arguments: argparse.Namespace) -> Options:
    """Flags over the settings file. Raises ConfigError, BadMachineId, UnusableStart."""
    file = arguments.config or arguments.config_dir / "verwalter.yaml"
    settings = with_flags(read_settings(file, must_exist=arguments.config is not None), arguments)
    if not 0 < settings.port < 65536:
        raise UnusableStart(f"--port {settings.port}: a number from 1 to 65535 would be right")
    hostname = settings.hostname or socket.gethostname()
    identity = Identity(
        id=machine_id(arguments.override_machine_id),
        hostname=hostname,
        name=settings.name or full_name(hostname),
        cluster=settings.cluster,
        dc=settings.dc.name,
        host=settings.host,
        port=settings.port,
    )
    return Options(
        identity=identity,
        settings=settings,
        settings_file=file,
        settings_must_exist=arguments.config is not None,
        config_dir=arguments.config_dir,
        storage_dir=arguments.storage_dir,
        log_dir=arguments.log_dir,
        cantal_url=arguments.cantal_url.rstrip("/"),
        dry_run=arguments.dry_run,
        force_leader=arguments.debug_force_leader,
        insecure=arguments.insecure,
        key_file=arguments.key_file,
        tokens_file=arguments.tokens_file,
    )


def with_flags(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings with every flag that was given."""
    given = {
        name: getattr(arguments, name)
        for name in ("host", "port", "hostname", "name", "default_frontend")
        if getattr(arguments, name) is not None
    }
    for name in ("use_sudo", "allow_minority_cluster"):
        if getattr(arguments, name):
            given[name] = True
    if arguments.no_candidate:
        given["candidate"] = False
    return msgspec.structs.replace(settings, **given)


def read_secrets(options: Options) -> Secrets:
    """Raises KeyFileError, TokensFileError for files that are there and wrong."""
    keys = ClusterKeys.read(options.key_file) if options.key_file.exists() else None
    tokens = Tokens.read(options.tokens_file) if options.tokens_file.exists() else None
    return Secrets(keys, tokens)


def refuse_insecure(options: Options, secrets: Secrets) -> str | None:
    """A warning to show, where the flag allows what is otherwise refused.

    Raises:
        Insecure: others can reach the address, and there is no cluster key, no tokens, or nothing that hides them.
    """
    host = options.identity.host
    if _only_this_machine(host):
        return None
    missing = []
    if secrets.cluster_keys is None:
        missing.append(f"a cluster key (`verwalter-ctl key generate > {options.key_file}`)")
    if secrets.tokens is None:
        missing.append(f"tokens (`verwalter-ctl token create NAME --role admin`, into {options.tokens_file})")
    if missing and not options.insecure:
        raise Insecure(
            f"listening on {host}, where others can reach it, needs {' and '.join(missing)}; or `--insecure`"
        )
    if missing:
        return f"listening on {host} without {' and '.join(missing)}"
    if options.settings.tls.require and not options.insecure:
        raise Insecure(
            f"listening on {host} without TLS would show tokens to the network, and TLS is not supported yet; "
            "write `tls: {require: false}` into the settings if that network is your own"
        )
    return None


def _only_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def configure_logging(arguments: argparse.Namespace) -> None:
    """The flag, then MANOR_LOG, then `warn`."""
    name = arguments.log_level or os.environ.get("RUST_LOG", "") or os.environ.get("MANOR_LOG", "")
    level = LOG_LEVELS.get(name.lower(), logging.WARNING)
    source = (arguments.override_machine_id or "%(name)s") if arguments.log_id else "%(name)s"
    text = f"%(asctime)s %(levelname)s {source} %(message)s"
    if arguments.log_format == "json":
        text = '{"at": "%(asctime)s", "level": "%(levelname)s", "module": "%(name)s", "message": "%(message)s"}'
    logging.basicConfig(level=level, format=text, stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
