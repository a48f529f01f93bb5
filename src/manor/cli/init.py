"""`manor init`: what a machine needs before it joins a cluster: the cluster key, and limits for templates."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError
from manor.trust.errors import TrustError
from manor.trust.keys import CLUSTER_KEY_FILE, ClusterKeys, generate_key
from manor.trust.private_file import create_private_file

CONFIG_DIR: Final = Path("/etc/verwalter")
EVERY_NODE: Final = "every node of the cluster needs the same file: `manor init --key-from FILE` on the others"
LIMITS: Final = """\
# What templates may do on this machine. Owned by root, so that who delivers templates cannot widen it.
allow-commands: [lithos_switch]
allow-paths: []
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="manor init", description=__doc__)
    parser.add_argument(
        "--directory", metavar="DIR", type=Path, default=CLUSTER_KEY_FILE.parent, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--key-from", metavar="FILE", type=Path, help="the key of a cluster that exists, in place of a new one"
    )
    parser.add_argument(
        "--config-dir", metavar="DIR", type=Path, default=CONFIG_DIR, help="of verwalter (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    try:
        for line in prepare(arguments.directory, arguments.key_from) + limit_templates(arguments.config_dir):
            print(line)
    except ManorError as error:
        print(f"manor init: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"manor init: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def prepare(directory: Path, key_from: Path | None) -> list[str]:
    """Make the cluster key if it is not there, touch nothing that is; lines that say so."""
    key_file = directory / CLUSTER_KEY_FILE.name
    if os.path.lexists(key_file):
        present = ClusterKeys.read(key_file)
        if key_from is not None and ClusterKeys.read(key_from).purpose("init") != present.purpose("init"):
            raise TrustError(f"{key_file}: holds other keys than {key_from}; remove it first if this is meant")
        return [f"{key_file}: is there already and is good; nothing changed"]
    if key_from is not None:
        ClusterKeys.read(key_from)  # it must be a key before it is copied
        content, lines = key_from.read_bytes(), [f"{key_file}: copied from {key_from}"]
    else:
        content, lines = f"{generate_key()}\n".encode(), [f"{key_file}: made a new cluster key", EVERY_NODE]
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    create_private_file(key_file, content)
    _give_to_daemon(key_file)
    return lines


def limit_templates(config_dir: Path) -> list[str]:
    """Make the limits of templates if there are none: who may push templates would else be root on this machine."""
    sandbox = config_dir / "sandbox"
    if sandbox.is_dir() and any(path.suffix == ".yaml" for path in sandbox.iterdir()):
        return [f"{sandbox}: has limits already; nothing changed"]
    sandbox.mkdir(mode=0o755, parents=True, exist_ok=True)
    file = sandbox / "limits.yaml"
    file.write_text(LIMITS)
    return [f"{file}: templates may start lithos_switch and write nothing; add what yours need"]


def _give_to_daemon(path: Path) -> None:
    """The user of the daemon that reads it, where that user exists."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam("verwalter")
    except KeyError:
        return
    os.chown(path, user.pw_uid, user.pw_gid)
