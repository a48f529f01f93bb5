"""What the administrator of a machine does once, by the tutorial, done to the nodes of a cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from manor.cluster.cluster import Cluster
from manor.trust.keys import generate_key
from manor.trust.tokens import make_token

COMMANDS = (
    "cantal",
    "cantal-agent",
    "lithos_check",
    "lithos_cmd",
    "lithos_mkdev",
    "lithos_ps",
    "lithos_switch",
    "lithos_tree",
    "manor",
    "verwalter",
    "verwalter-ctl",
    "verwalter-render",
)
CANTAL_PORT = 22682
VERWALTER_PORT = 8379
CLUSTER_NAME = "guestbook"
SITE_UID = 33
DATABASE_UID = 5432
SANDBOXES = ("site", "database", "balancer")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once for a cluster, given to every node."""

    cluster_key: str
    token: str  # of an admin
    tokens_file: str
    database_password: str
    django_key: str


def make_secrets() -> Secrets:
    token, entry = make_token("demo", "admin", ttl=None)
    return Secrets(
        cluster_key=generate_key(),
        token=token,
        tokens_file=entry,
        database_password=secrets.token_urlsafe(24),
        django_key=secrets.token_urlsafe(48),
    )


def prepare_node(cluster: Cluster, name: str, shared: Secrets, nodes_files: Path, *, has_database: bool) -> None:
    """Write a running node's files: commands, keys, sandboxes, scheduler, templates, labels.

    Args:
        nodes_files: the example's `nodes/` folder, what goes below `/etc` on every machine.
    """
    etc = cluster.file(name, "/etc")
    link_commands(cluster.file(name, "/usr/local/bin"))
    write_private(etc / "manor/cluster.key", shared.cluster_key + "\n")
    write_private(etc / "manor/tokens.yaml", shared.tokens_file)
    write_private(cluster.file(name, "/root/.config/manor/token"), shared.token + "\n")

    shutil.copytree(nodes_files / "lithos", etc / "lithos", dirs_exist_ok=True)
    (etc / "lithos/master.yaml").touch()
    (etc / "lithos/processes").mkdir(exist_ok=True)
    for sandbox in SANDBOXES:
        cluster.file(name, f"/var/lib/lithos/containers/{sandbox}").mkdir(parents=True, exist_ok=True)
    for owner, files in secret_files(shared).items():
        folder = etc / "guestbook" / owner
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            write_private(folder / file, text)
            os.chown(folder / file, *(2 * [SITE_UID if owner == "site" else DATABASE_UID]))
    (etc / "guestbook/balancer").mkdir(exist_ok=True)
    cluster.file(name, "/var/lib/guestbook").mkdir(parents=True, exist_ok=True)

    shutil.copytree(nodes_files / "verwalter", etc / "verwalter", dirs_exist_ok=True)
    (etc / "verwalter/runtime").mkdir(exist_ok=True)
    (etc / "verwalter/machine").mkdir(exist_ok=True)
    # The demo's nodes talk without TLS; on real machines write certificates into `tls` instead.
    (etc / "verwalter/verwalter.yaml").write_text(f"cluster: {CLUSTER_NAME}\ntls: {{ require: false }}\n")
    if has_database:
        (etc / "verwalter/machine/labels.yaml").write_text("database: true\n")


def secret_files(shared: Secrets) -> dict[str, dict[str, str]]:
    """Folder below /etc/guestbook -> file -> content. Each sandbox sees only its own folder."""
    password = shared.database_password + "\n"
    return {
        "site": {"database-password": password, "secret-key": shared.django_key + "\n"},
        "database": {"database-password": password},
    }


def link_commands(target: Path) -> None:
    """The commands of manor as a package would install them."""
    here = Path(sys.executable).parent
    target.mkdir(parents=True, exist_ok=True)
    for command in COMMANDS:
        (target / command).unlink(missing_ok=True)
        (target / command).symlink_to(here / command)


def write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def start_daemons(cluster: Cluster, name: str) -> None:
    """Start what a service manager would start at boot."""
    start_cantal(cluster, name)
    cluster.start_daemon(name, "/var/log/lithos_tree.out", ["lithos_tree"])
    start_verwalter(cluster, name)


def start_cantal(cluster: Cluster, name: str) -> None:
    address = cluster.spec(name).address
    options = [
        "--host",
        address,
        "--bind-localhost",
        "--cluster-name",
        CLUSTER_NAME,
        "--storage-dir",
        "/var/lib/cantal",
    ]
    cluster.start_daemon(name, "/var/log/cantal-agent.log", ["cantal-agent", *options])


def start_verwalter(cluster: Cluster, name: str) -> None:
    options = ["--host", cluster.spec(name).address, "--hostname", name, "--name", name, "--log-level", "info"]
    command = ["env", "CANTAL_PATH=/run/verwalter.metrics", "verwalter", *options]
    cluster.start_daemon(name, "/var/log/verwalter.out", command)
