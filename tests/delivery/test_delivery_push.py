"""`manor push` as people call it, to nodes that are processes of this machine. In place of ssh a shell script that
drops the user and the host and runs the rest here."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from manor.delivery.index import build_index
from manor.trust.tokens import make_token

MANOR = [sys.executable, "-c", "import sys; from manor.cli import main; sys.exit(main())"]
NODE = Path(__file__).with_name("delivery_node.py")
DEADLINE_S = 60.0

REMOTE_SHELL = """#!/bin/sh
# remote-shell -l USER HOST COMMAND...: COMMAND, here. Notes each call and its process in the staging directory's node.
shift 3
for last; do :; done
folder=${last%/images/*}
echo "$$ $*" >> "$folder/calls"
exec "$@"
"""


def still_runs(call: str) -> bool:
    """Whether the process of a noted call is still there; its number may be somebody else's by now."""
    pid, command = call.split(maxsplit=1)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except FileNotFoundError:
        return False
    return " ".join(words) == command.strip()


def wait_until(what: Callable[[], object]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < ends_at, "waited too long"
        time.sleep(0.01)


class Node:
    """One receiving process."""

    def __init__(self, folder: Path, tokens: Path | None = None) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.tokens = tokens
        self.port = 0
        self.start()

    def start(self) -> None:
        words = [
            sys.executable,
            str(NODE),
            str(self.folder),
            str(self.port),
            *([str(self.tokens)] if self.tokens else []),
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[str]:
        try:
            return (self.folder / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []

    def staged(self) -> int:
        """How many entries lie in staging directories."""
        return sum(len(files) for path in self.images.glob(".tmp.*") for _, _, files in os.walk(path))

    def kill(self) -> None:
        """As if the power went: the server and whatever receives for it."""
        self.process.kill()
        self.process.wait()
        for call in self.calls:
            subprocess.run(["kill", "-KILL", call.split()[0]], stderr=subprocess.DEVNULL, check=False)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Cluster:
    """Several nodes that know each other, and the pusher beside them."""

    def __init__(self, folder: Path, count: int, tokens: Path | None = None) -> None:
        self.folder = folder
        self.nodes = [Node(folder / f"n{number}", tokens) for number in range(1, count + 1)]
        plan = {node.folder.name: node.address for node in self.nodes}
        for node in self.nodes:
            (node.folder / "plan.json").write_text(json.dumps(plan))
        self.shell = folder / "remote-shell"
        self.shell.write_text(REMOTE_SHELL)
        self.shell.chmod(0o755)

    def words(self, image: Path, *options: str) -> list[str]:
        url = f"http://{self.nodes[0].address}"
        return [*MANOR, "push", str(image), "--sandbox", "site", "--url", url, "--rsh", str(self.shell), *options]

    def push(self, image: Path, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.folder)}
        return subprocess.run(
            self.words(image, *options), capture_output=True, text=True, env=environment, timeout=120, check=False
        )

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as stack:

        def make(count: int, tokens: Path | None = None) -> Cluster:
            cluster = Cluster(tmp_path / "cluster", count, tokens)
            stack.callback(cluster.stop)
            return cluster

        (tmp_path / "cluster").mkdir()
        yield make


def make_image(root: Path, files: int = 3) -> Path:
    for number in range(files):
        path = root / f"d{number % 7}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 500)
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o4755)
    (root / "link").symlink_to("run")
    (root / "empty").mkdir()
    return root


def test_an_image_reaches_all_nodes_of_the_plan_and_a_second_push_sends_nothing(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(2), make_image(tmp_path / "image")
    first = cluster.push(image, "--name", "app.1")
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0] == f"app.1: id {build_index(image).id}, {build_index(image).size} bytes in 5 files"
    assert lines[1] == "1 set-id bits are not carried: delivery knows content, links and the execute bit"
    assert {"n1: ready", "n2: ready", "n1: verifying"} <= set(lines)
    for node in cluster.nodes:
        assert build_index(node.images / "app.1").id == build_index(image).id
        assert sorted(os.listdir(node.images)) == ["app.1"]
        assert len(node.calls) == 1
    second = cluster.push(image, "--name", "app.1")
    assert second.returncode == 0
    assert [len(node.calls) for node in cluster.nodes] == [1, 1]


def test_an_election_is_waited_for(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = new_cluster(1)
    (cluster.nodes[0].folder / "election").touch()
    done = cluster.push(make_image(tmp_path / "image"), "--name", "app.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (cluster.nodes[0].folder / "election").exists()


def test_the_second_image_shares_what_did_not_change_and_leaves_the_first_alone(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(1), make_image(tmp_path / "image")
    assert cluster.push(image, "--name", "app.1").returncode == 0
    first = cluster.nodes[0].images / "app.1"
    before = {path: os.lstat(path) for path in first.rglob("*")}
    id_before = build_index(first).id
    (image / "d0/file 0").write_text("changed")
    (image / "d1/file 1").chmod(0o755)
    assert cluster.push(image, "--name", "app.2").returncode == 0
    second = cluster.nodes[0].images / "app.2"
    assert build_index(second).id == build_index(image).id
    assert os.lstat(second / "d2/file 2").st_ino == before[first / "d2/file 2"].st_ino
    assert os.lstat(second / "d1/file 1").st_ino != before[first / "d1/file 1"].st_ino
    assert build_index(first).id == id_before
    for path, status in before.items():
        now = os.lstat(path)
        assert (now.st_mode, now.st_uid, now.st_mtime) == (status.st_mode, status.st_uid, status.st_mtime), path
    modes = {stat.S_IMODE(os.lstat(path).st_mode) for path in second.rglob("*") if not path.is_symlink()}
    assert modes == {0o644, 0o755}


def test_the_same_name_with_other_contents_is_status_8_and_changes_nothing(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(2), make_image(tmp_path / "image")
    assert cluster.push(image, "--name", "app.1", "--nodes", "n1").returncode == 0
    before = build_index(image).id
    (image / "run").write_text("other")
    refused = cluster.push(image, "--name", "app.1", "--nodes", "n1")
    assert refused.returncode == 8
    assert f"n1: failed: n1: site/app.1 exists with other contents (id {before[:8]}...)" in refused.stdout
    assert build_index(cluster.nodes[0].images / "app.1").id == before
    assert os.listdir(cluster.nodes[1].images) == []


@pytest.mark.case("verwalter-59")
def test_a_node_that_loses_its_power_midway_and_comes_back_gets_the_image_in_the_end(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(5), make_image(tmp_path / "image", files=1000)
    whole = build_index(image)
    victim = cluster.nodes[2]
    halves: list[str] = []
    over = threading.Event()

    def watch() -> None:  # a name that is there must be whole at once
        unseen = {node.images / "app.1" for node in cluster.nodes}
        while unseen and not over.wait(0.002):
            for place in [place for place in unseen if place.exists()]:
                unseen.discard(place)
                if build_index(place).id != whole.id:
                    halves.append(str(place))

    watching = threading.Thread(target=watch)
    watching.start()
    words = cluster.words(image, "--name", "app.1", "--limit", "1Mi")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pushing:
        wait_until(lambda: victim.staged() >= 100)
        victim.kill()
        assert not (victim.images / "app.1").exists()
        victim.start()
        said, _ = pushing.communicate(timeout=DEADLINE_S)
        assert pushing.returncode == 0, said
    over.set()
    watching.join()
    assert halves == []
    assert {build_index(node.images / "app.1").id for node in cluster.nodes} == {whole.id}
    assert "n3: trying again: " in said
    calls = [len(node.calls) for node in cluster.nodes]
    again = cluster.push(image, "--name", "app.1")
    assert again.returncode == 0
    assert [len(node.calls) for node in cluster.nodes] == calls


def test_bytes_changed_on_the_way_are_sent_again(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster, image = new_cluster(1), make_image(tmp_path / "image")
    node = cluster.nodes[0]
    flips_once = '"$@"; [ $(wc -l < "$folder/calls") -gt 1 ] || echo x > "$(echo "$folder"/images/.tmp.*)/run"; exit 0'
    cluster.shell.write_text(REMOTE_SHELL.replace('exec "$@"', flips_once))
    done = cluster.push(image, "--name", "app.1")
    assert done.returncode == 0
    assert "what arrived is not what was announced: run: other contents than announced" in done.stdout
    assert build_index(node.images / "app.1").id == build_index(image).id


def test_metadata_comes_last_to_every_node_with_the_image_filled_in(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(2), make_image(tmp_path / "image")
    metadata = tmp_path / "site.yaml"
    metadata.write_text(
        "daemons:\n  web: {config: /config/web.yaml}\n  old: {image: fixed, config: /x}\ncommands: {m: {}}\n"
    )
    options = ["--role", "site", "--version", "v1.3", "--metadata", str(metadata)]
    done = cluster.push(image, "--name", "app.1", "--nodes", "n1", *options)
    assert (done.returncode, done.stderr) == (0, "")
    for node in cluster.nodes:
        written = json.loads((node.folder / "etc/runtime/site/v1.3.yaml").read_text())
        assert written == {
            "daemons": {
                "web": {"config": "/config/web.yaml", "image": "app.1"},
                "old": {"image": "fixed", "config": "/x"},
            },
            "commands": {"m": {"image": "app.1"}},
        }
    assert os.listdir(cluster.nodes[1].images) == []
    assert cluster.push(image, "--name", "app.1", "--nodes", "n1", *options).returncode == 0
    metadata.write_text("daemons: {}\n")
    other = cluster.push(image, "--name", "app.1", "--nodes", "n1", *options)
    assert other.returncode == 8
    assert "site/v1.3 exists with other metadata" in other.stdout


def test_metadata_of_an_image_that_did_not_arrive_is_not_delivered(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(1), make_image(tmp_path / "image")
    (cluster.nodes[0].images / "app.1").mkdir()
    metadata = tmp_path / "site.yaml"
    metadata.write_text("daemons: {}\n")
    done = cluster.push(image, "--name", "app.1", "--role", "site", "--version", "v1", "--metadata", str(metadata))
    assert done.returncode == 8
    assert not (cluster.nodes[0].folder / "etc").exists()


def test_without_a_good_token_nothing_is_delivered(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    (deployer, first), (viewer, second) = make_token("ci", "deployer"), make_token("vic", "viewer")
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(first + second)
    tokens.chmod(0o600)
    cluster, image = new_cluster(1, tokens), make_image(tmp_path / "image")
    token = tmp_path / "token"
    for text, status, said in [
        (None, 5, "this needs a token"),
        (viewer, 5, "`vic` has the role viewer, which may not do this"),
        (deployer, 0, ""),
    ]:
        options = ["--name", "app.1"]
        if text is not None:
            token.write_text(text + "\n")
            options += ["--token-file", str(token)]
        done = cluster.push(image, *options)
        assert done.returncode == status
        assert said in done.stderr and done.stderr.count("\n") <= 1
        assert os.listdir(cluster.nodes[0].images) == ([] if status else ["app.1"])
    (tmp_path / "cluster/.config/manor").mkdir(parents=True)
    (tmp_path / "cluster/.config/manor/token").write_text(deployer)
    assert cluster.push(image, "--name", "app.1").returncode == 0


def test_a_directory_of_vagga_says_its_own_name_and_keeps_its_index(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = new_cluster(1)
    built = tmp_path / ".vagga/.roots/deploy.1a2b3c4d"
    make_image(built / "root")
    for kind in ("uid_map", "gid_map"):
        (built / kind).write_text("0 0 1\n1 100000 65535\n")
    (tmp_path / ".vagga/deploy").symlink_to(".roots/deploy.1a2b3c4d/root")
    done = cluster.push(tmp_path / ".vagga/deploy")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(cluster.nodes[0].images)) == ["deploy.1a2b3c4d"]
    assert (built / "index.ds1").read_bytes() == build_index(built / "root").to_bytes()


def test_json_is_one_object_a_line_and_dry_run_sends_nothing(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(2), make_image(tmp_path / "image")
    dry = cluster.push(image, "--name", "app.1", "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-2:]) == (0, ["n1: would get it", "n2: would get it"])
    assert os.listdir(cluster.nodes[0].images) == []
    done = cluster.push(image, "--name", "app.1", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1] == {
        "event": "done", "status": 0, "sandbox": "site", "name": "app.1", "id": build_index(image).id,
        "ready": ["n1", "n2"], "failed": {},
    }  # fmt: skip
    assert {"event": "node", "node": "n2", "state": "ready"} in events


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--name", "../x"], 2, "`../x` is no image name; letters, digits, `_`, `.`, `-` would be right"),
        ([], 2, "is no image of vagga; `--name NAME` says what it is called on the nodes"),
        (["--name", "a", "--method", "p2p"], 2, "`--method p2p` is not supported yet"),
        (["--name", "a", "--wait", "none"], 2, "`--wait none` is not supported yet"),
        (["--name", "a", "--seeds", "3"], 2, "`--seeds` is not supported yet"),
        (["--name", "a", "--config", "templates"], 2, "`--config` is not supported yet"),
        (["--name", "a", "--metadata", "x.yaml"], 2, "`--metadata` needs `--role` and `--version`"),
        (["--name", "a", "--version", "v1"], 2, "`--version` needs `--metadata`"),
        (["--name", "a", "--nodes", "nowhere"], 2, "no node `nowhere` in this cluster; known: n1"),
        (["--name", "a", "--sandbox", "other"], 1, "no node should have an image of other"),
        (["--name", "a", "--token-file", "/nonexistent"], 2, "/nonexistent: No such file or directory"),
        (
            ["--name", "a", "--url", "http://127.0.0.1:9"],
            3,
            "127.0.0.1:9: no connection: 127.0.0.1:9: Connection refused",
        ),
        (["--name", "a", "--url", "ftp://x"], 2, "`ftp://x` is no address of a node"),
        (["--name", "a", "--timeout", "5"], 2, "lacks a unit; write `5s`"),
        (["--name", "a", "--limit", "0"], 2, "a rate above 0"),
    ],
)
def test_bad_usage_is_one_line_and_changes_nothing(
    new_cluster: Callable[..., Cluster], tmp_path: Path, options: list[str], status: int, message: str
) -> None:
    cluster = new_cluster(1)
    done = cluster.push(make_image(tmp_path / "image"), *options)
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]
    assert os.listdir(cluster.nodes[0].images) == []


def test_a_device_in_the_image_is_status_7_with_its_path(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster, image = new_cluster(1), make_image(tmp_path / "image")
    os.mkfifo(image / "d0/pipe")
    done = cluster.push(image, "--name", "app.1")
    assert done.returncode == 7
    assert done.stderr == (
        f"manor push: {image}/d0/pipe: is a pipe; only regular files, directories and symbolic links are delivered\n"
    )


def test_an_interrupted_push_stops_its_transfers_and_the_next_one_goes_on(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, image = new_cluster(1), make_image(tmp_path / "image", files=500)
    node = cluster.nodes[0]
    words = cluster.words(image, "--name", "app.1", "--limit", "100ki")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pushing:
        wait_until(lambda: node.staged() >= 20)
        pushing.send_signal(signal.SIGINT)
        _, said = pushing.communicate(timeout=DEADLINE_S)
    assert pushing.returncode == 130
    assert said == "manor push: interrupted; the same command goes on where this one stopped\n"
    wait_until(lambda: not any(still_runs(call) for call in node.calls))
    assert not (node.images / "app.1").exists()
    assert cluster.push(image, "--name", "app.1").returncode == 0
    assert build_index(node.images / "app.1").id == build_index(image).id
