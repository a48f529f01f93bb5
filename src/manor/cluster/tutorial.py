"""The tutorial's job on a cluster: build the guest book, deliver it, run it, change it, break things around it.

Every method is one step that a person would do, waits until it has worked, and raises ManorError where it has not.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from manor.cluster import provision, site
from manor.cluster.agents import AgentFailed, Agents
from manor.cluster.cluster import Cluster
from manor.cluster.provision import Secrets
from manor.cluster.wait import wait_until
from manor.config.errors import ManorError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "django"
DATABASE_NODE = "node1"
IMAGES = {"site": "deploy", "database": "deploy-database", "balancer": "deploy-balancer"}  # role -> container
BUILD_TIMEOUT_S = 1800.0
PUSH_TIMEOUT_S = 600.0
JOINED_WITHIN_S = 30.0
Report = Callable[[str], None]


class BuildFailed(ManorError):
    """vagga _build deploy: exit status 121: ..."""


class Tutorial:
    """One cluster with the guest book on it."""

    def __init__(self, cluster: Cluster, project: Path, report: Report) -> None:
        self.cluster = cluster
        self.project = project
        self.report = report
        self.shared: Secrets = provision.make_secrets()
        self.agents = Agents(self.shared.token)
        self.token_file = cluster.directory / "token"
        provision.write_private(self.token_file, self.shared.token + "\n")

    # -- making it run

    def copy_project(self, version: str) -> None:
        """A working copy of the example, so that nothing is written into the checkout; layers are kept between runs."""
        self.project.mkdir(parents=True, exist_ok=True)
        for entry in sorted(EXAMPLE.iterdir()):
            target = self.project / entry.name
            if entry.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(entry, target, ignore=shutil.ignore_patterns("__pycache__", ".vagga"))
            else:
                shutil.copyfile(entry, target)
        self.add_client_library()
        (self.project / "mysite/version.py").write_text(f'"""The release of the site."""\n\nVERSION = "{version}"\n')

    def add_client_library(self) -> None:
        """manor's library for publishing counters: standard library only, so it is copied into the image as it is."""
        package = Path(__file__).resolve().parents[1]
        target = self.project / "lib" / "manor"
        shutil.rmtree(target, ignore_errors=True)
        (target / "cantal").mkdir(parents=True)
        for source in ("__init__.py", "cantal/__init__.py"):
            shutil.copyfile(package / source, target / source)
        shutil.copytree(
            package / "cantal/client", target / "cantal/client", ignore=shutil.ignore_patterns("__pycache__")
        )

    def build(self, roles: Sequence[str]) -> dict[str, str]:
        """Build the images with vagga, those that are not there yet. Returns role -> image name."""
        containers = [IMAGES[role] for role in roles]
        command = [str(Path(sys.executable).parent / "vagga"), "_build", *containers]
        # Each line as it comes: a first build takes minutes, and a person wants to see that something happens.
        with subprocess.Popen(
            command,
            cwd=self.project,
            env=build_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as vagga:
            last = ""
            assert vagga.stdout is not None
            for line in vagga.stdout:
                if line.strip():
                    last = line.strip()
                    self.report(last)
            status = vagga.wait(BUILD_TIMEOUT_S)
        if status != 0:
            raise BuildFailed(f"vagga _build {' '.join(containers)}: exit status {status}: {last}")
        images = {}
        for role in roles:
            target = os.readlink(self.project / ".vagga" / IMAGES[role])
            images[role] = Path(target).parent.name
        return images

    def start_nodes(self) -> None:
        """Boot all nodes and their daemons, and join them into one cluster."""
        # Nodes see our byte code through their overlays; without it each of them would compile everything for itself.
        compileall.compile_dir(Path(__file__).resolve().parents[1], quiet=2)
        for name in self.cluster.names:
            self.cluster.start_node(name)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.start_programs, self.cluster.names))
            first, *others = self.cluster.names
            list(pool.map(partial(self.wait_joined, first), others))

    def wait_joined(self, first: str, name: str) -> None:
        address = self.address(first)
        wait_until(f"{name} joins {first}", partial(self.join, name, address), within_s=JOINED_WITHIN_S)

    def join(self, name: str, first: str) -> bool:
        """Tell a node of another; gossip tells it of all the rest."""
        self.cluster.run(name, "cantal", "add-host", f"{first}:{provision.CANTAL_PORT}")
        return True

    def start_node(self, name: str) -> None:
        """Boot a node and its daemons; its files are written again, as they were."""
        self.cluster.start_node(name)
        self.start_programs(name)

    def start_programs(self, name: str) -> None:
        has_database = name == DATABASE_NODE
        provision.prepare_node(self.cluster, name, self.shared, EXAMPLE / "nodes", has_database=has_database)
        provision.start_daemons(self.cluster, name)

    def push_all(self, version: str) -> None:
        """Deliver the images of all roles side by side."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(self.push, version=version), IMAGES))

    def push(self, role: str, version: str) -> None:
        """Deliver the image of a role and, after it, the metadata of the version."""
        command = [str(Path(sys.executable).parent / "manor"), "push", str(self.project / ".vagga" / IMAGES[role])]
        command += ["--sandbox", role, "--nodes", ",".join(self.live_nodes()), "--url", self.url(self.live_nodes()[0])]
        command += ["--role", role, "--version", version, "--metadata", str(EXAMPLE / "releases" / f"{role}.yaml")]
        command += ["--method", "rsync", "--rsh", " ".join(self.cluster.enter_command())]
        command += ["--token-file", str(self.token_file)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PUSH_TIMEOUT_S)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise ManorError(f"manor push of {role}: exit status {done.returncode}: {said[-1]}")

    def migrate(self) -> bool:
        """Bring the database's tables up to date: a command of the site's image, run by lithos on one node."""
        name = next(
            node for node in self.live_nodes()
            if "manage" in self.cluster.file(node, "/etc/lithos/processes/site.yaml").read_text()
        )  # fmt: skip
        self.cluster.run(name, "lithos_cmd", "site", "manage", "migrate", "--noinput")
        return True

    # -- looking at it

    def live_nodes(self) -> list[str]:
        return [name for name in self.cluster.names if self.cluster.is_alive(name)]

    def address(self, name: str) -> str:
        return self.cluster.spec(name).address

    def url(self, name: str) -> str:
        return f"http://{self.address(name)}:{provision.VERWALTER_PORT}"

    def site_url(self, name: str) -> str:
        return f"http://{self.address(name)}:{site.BALANCER_PORT}/"

    def leader(self, among: Sequence[str] | None = None) -> str:
        """The node that all asked ones agree is the leader, and that has a stable schedule."""
        asked = list(among or self.live_nodes())
        leaders = set()
        for name in asked:
            status = self.agents.verwalter(self.address(name), "status")
            if status["leader"] is None:
                raise AgentFailed(f"{name} knows no leader")
            leaders.add(str(status["leader"]["hostname"]))
        if len(leaders) != 1:
            raise AgentFailed(f"several leaders: {', '.join(sorted(leaders))}")
        leader = leaders.pop()
        if not self.agents.verwalter(self.address(leader), "election")["is_leader"]:
            raise AgentFailed(f"{leader} does not lead yet")
        return leader

    def act(self, **button: object) -> str:
        return self.agents.act(self.address(self.leader()), **button)

    def instances(self, nodes: Sequence[str] | None = None) -> dict[str, str]:
        """What lithos says runs: `NODE SANDBOX/PROCESS.N` -> state."""
        states = {}
        for name in nodes or self.live_nodes():
            document = self.cluster.run(name, "cat", "/run/lithos/status.json")
            for instance in json.loads(document)["instances"]:
                states[f"{name} {instance['name']}"] = str(instance["state"])
        return states

    def ready(self, sandbox: str, nodes: Sequence[str] | None = None) -> list[str]:
        pattern = re.compile(rf"^\S+ {sandbox}/")
        return [name for name, state in self.instances(nodes).items() if pattern.match(name) and state == "ready"]

    def site_answers(self, nodes: Sequence[str]) -> bool:
        for name in nodes:
            site.read_book(self.address(name))
        return True


def build_environment() -> dict[str, str]:
    """Where the environment names a bundle of certificates (TLS is intercepted there), images are built with it."""
    environment = dict(os.environ)
    if bundle := environment.get("SSL_CERT_FILE"):
        environment.setdefault("VAGGA_SETTINGS", json.dumps({"ca-bundle": bundle}))
    return environment
