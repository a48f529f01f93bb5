"""`vagga` runs `true` in an image that is built already, beside `podman run` of the same files, and beside the OCI
runtime that vagga itself uses, alone: what remains between these two is vagga's own.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import children
from benchmarks.measure import Row, Size, find_peer, in_turn, seconds
from benchmarks.rootfs import make_rootfs
from manor.container import bundle
from manor.container.choice import find_runtime
from manor.container.defaults import PROC
from manor.kernel import cgroups

CONFIG = """\
containers:
  tiny:
    setup:
    - !Copy { source: /work/rootfs, path: / }
commands:
  nothing: !Command
    container: tiny
    run: [/bin/true]
"""


def run(size: Size) -> Iterable[Row]:
    runs = 15 if size is Size.FULL else 1
    podman = find_peer("podman", "podman", size)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-bench-"))).resolve()
        rootfs = make_rootfs(directory / "project/rootfs")
        works = [warm_vagga(directory), runtime_alone(directory), lambda: children.run(["/bin/true"])]
        if podman is not None:
            works.append(stack.enter_context(podman_run(podman, directory, rootfs)))
        ours_s, alone_s, program_s, *podman_s = in_turn(runs, *(partial(seconds, work) for work in works))
    what = "vagga starts `true`, image built"
    for peer_s in podman_s:
        yield Row(what, ours_s, "s", "podman run", peer_s)
    yield Row(what, ours_s, "s", "the OCI runtime alone", alone_s)
    yield Row("the same above the program started directly", ours_s - program_s, "s")


def warm_vagga(directory: Path) -> Callable[[], object]:
    project, home = directory / "project", directory / "home"
    home.mkdir()
    (project / "vagga.yaml").write_text(CONFIG)
    environ = {"HOME": str(home), "VAGGA_SETTINGS": "{}"}

    def start() -> bytes:
        return children.run([children.ours("vagga"), "nothing"], cwd=project, environ=environ)

    start()  # builds the image
    return start


def runtime_alone(directory: Path) -> Callable[[], object]:
    """`runc run` (or crun's) of a bundle with the same root, in the fewest namespaces that make a container."""
    binary = find_runtime(cache_dir=directory / "probed")
    config = bundle.Config(
        process=bundle.Process(
            args=("/bin/true",), cwd="/", user=bundle.User(uid=0, gid=0), capabilities=bundle.Capabilities()
        ),
        root=bundle.Root(path=str(make_rootfs(directory / "own-rootfs"))),  # runc leaves devices in it
        mounts=(PROC,),
        linux=bundle.Linux(namespaces=tuple(bundle.Namespace(type=kind) for kind in ("pid", "ipc", "uts", "mount"))),
    )
    bundle.write_bundle(directory / "bundle", config)
    words = [binary.path, "--root", directory / "state", "run", "--bundle", directory / "bundle", directory.name]
    return lambda: children.run(words)


@contextlib.contextmanager
def podman_run(program: str, directory: Path, rootfs: Path) -> Iterator[Callable[[], object]]:
    """podman with a store of its own. The limits are explicit: it refuses to start where the hard ones are low."""
    store, parent = directory / "podman", f"/{directory.name}-podman"
    podman = [program, "--root", store / "root", "--runroot", store / "run", "--tmpdir", store / "tmp"]
    podman += ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    archive = shutil.make_archive(str(directory / "rootfs"), "tar", rootfs)
    options = [
        "--rm",
        "--network",
        "none",
        "--cgroup-parent",
        parent,
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
    ]
    try:
        children.run([*podman, "import", archive, "localhost/tiny:1"])
        yield lambda: children.run([*podman, "run", *options, "localhost/tiny:1", "/bin/true"])
    finally:
        children.run([*podman, "system", "reset", "--force"])
        cgroups.remove(parent)
