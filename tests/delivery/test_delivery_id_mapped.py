"""A vagga image pushed by the ordinary user who built it: files of subordinate ids, a private one, a set-uid one."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.delivery.index import build_index

USER_ID = 23_456  # in no real user database
SUBORDINATE = 723_456
NODE = Path(__file__).with_name("delivery_node.py")

REMOTE_SHELL = """#!/bin/sh
# As if it were ssh: notes whom it believes to be, drops user and host, runs the rest.
id -u >> {seen}
cat /proc/self/uid_map >> {seen}
shift 3
exec "$@"
"""

AS_USER = """
set -e
mount --make-rprivate /
cp /etc/passwd {folder}/passwd; echo 'builder:x:{uid}:{uid}::{folder}/home:/bin/sh' >> {folder}/passwd
echo 'builder:{sub}:65535' > {folder}/sub
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/sub /etc/subuid
mount --bind {folder}/sub /etc/subgid
exec setpriv --reuid {uid} --regid {uid} --clear-groups env HOME={folder}/home "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder another user can reach."""
    with tempfile.TemporaryDirectory(prefix="manor-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def make_image(built: Path) -> Path:
    root = built / "root"
    root.mkdir(parents=True)
    for name, owner, mode in [("sudo", 0, 0o4755), ("private", 0, 0o600), ("www", 33, 0o600), ("plain", 0, 0o644)]:
        path = root / name
        path.write_text(name)
        outside = USER_ID if owner == 0 else SUBORDINATE + owner - 1
        os.chown(path, outside, outside)
        path.chmod(mode)
    (root / "hidden").mkdir(mode=0o700)
    (root / "hidden/file").write_text("seen by 33 only")
    for path in (root / "hidden/file", root / "hidden"):
        os.chown(path, SUBORDINATE + 32, SUBORDINATE + 32)
    for path in (built, root):
        os.chown(path, USER_ID, USER_ID)
    for kind in ("uid_map", "gid_map"):
        (built / kind).write_text(f"0 {USER_ID} 1\n1 {SUBORDINATE} 65535\n")
    return root


def test_it_arrives_whole_and_the_remote_shell_runs_outside_of_the_id_map(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    os.chown(home, USER_ID, USER_ID)
    seen, shell = folder / "seen", folder / "remote-shell"
    seen.touch()
    seen.chmod(0o666)
    shell.write_text(REMOTE_SHELL.format(seen=seen))
    shell.chmod(0o755)
    root = make_image(folder / "roots/deploy.1a2b3c4d")
    # The node runs as the same user, so that the transfer over the pretended ssh may write there.
    node_folder = folder / "node"
    (node_folder / "images").mkdir(parents=True)
    for path in (node_folder, node_folder / "images"):
        os.chown(path, USER_ID, USER_ID)
    as_node = ["setpriv", "--reuid", str(USER_ID), "--regid", str(USER_ID), "--clear-groups"]
    node = subprocess.Popen(
        [*as_node, sys.executable, str(NODE), str(node_folder), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert node.stdout is not None
        address = f"127.0.0.1:{int(node.stdout.readline())}"
        script = AS_USER.format(folder=folder, uid=USER_ID, sub=SUBORDINATE)
        push = [sys.executable, "-c", "import sys; from manor.cli import main; sys.exit(main())", "push", str(root)]
        options = ["--sandbox", "site", "--nodes", address, "--rsh", str(shell)]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *push, *options],
            capture_output=True, text=True, timeout=120, cwd="/", check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    assert "1 set-id bits are not carried" in done.stdout
    place = node_folder / "images/deploy.1a2b3c4d"
    assert build_index(place).id == build_index(root).id
    assert (place / "hidden/file").read_text() == "seen by 33 only"
    owner, id_map = seen.read_text().split("\n", 1)
    assert owner == str(USER_ID)
    assert id_map == Path("/proc/self/uid_map").read_text()
