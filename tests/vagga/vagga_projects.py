"""Projects in temporary directories, and vagga called as its users call it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manor.vagga.durable import locked, remove_tree

VAGGA = Path(sys.executable).with_name("vagga")
TIMEOUT_S = 240.0
ROOM_BYTES = 6 << 30

BUSY_PROGRAMS = (
    "sh", "bash", "cat", "env", "head", "id", "kill", "ls", "mount", "ps", "pwd", "sleep", "stat", "stty", "touch",
    "true",
)  # fmt: skip

USER = "manor-test"
SUBORDINATE = "1879048192:65536"  # far from what useradd gives to people

ORDINARY = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LANG": "C.UTF-8",
    **({"VAGGA_LOG": os.environ["VAGGA_LOG"]} if "VAGGA_LOG" in os.environ else {}),
}


@dataclass
class ProjectFolder:
    """A project and somebody who works in it.

    Attributes:
        user: whom vagga is run by; None: who runs the tests.
    """

    root: Path
    home: Path
    settings: str
    user: str | None = None
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> Path:
        """A file of the project, indented as in the test."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text))
        place.chmod(mode)
        if self.user is not None:
            self.give(place)
        return place

    def give(self, place: Path) -> None:
        """Let the user own a file and the directories above it in the project."""
        entry = pwd.getpwnam(self.user or "root")
        while place.is_relative_to(self.root):
            os.chown(place, entry.pw_uid, entry.pw_gid)
            place = place.parent

    def config(self, text: str) -> None:
        """vagga.yaml."""
        self.write("vagga.yaml", text)

    def environment(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        return {**ORDINARY, "HOME": str(self.home), "VAGGA_SETTINGS": self.settings, **self.environ, **more}

    def words(self, *words: str) -> list[str]:
        """The command line of a call, as the project's user."""
        command = [str(VAGGA), *words]
        if self.user is None:
            return command
        entry = pwd.getpwnam(self.user)
        return ["/usr/bin/setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", *command]

    def run(
        self, *words: str, at: str = "", stdin: bytes = b"", environ: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[bytes]:
        """One call of vagga, whatever its status."""
        return subprocess.run(
            self.words(*words),
            cwd=self.root / at,
            env=self.environment(environ),
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def out(self, *words: str, at: str = "", environ: Mapping[str, str] = {}) -> str:
        """The standard output of a call that must succeed."""
        result = self.run(*words, at=at, environ=environ)
        assert result.returncode == 0, f"{words}: status {result.returncode}\n{result.stderr.decode()}"
        return result.stdout.decode()

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """A call that goes on while the test does."""
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            self.words(*words), cwd=self.root, env=self.environment(), **options
        )

    @property
    def roots(self) -> list[str]:
        """Names in `.roots` but for locks."""
        place = self.root / ".vagga/.roots"
        return sorted(n for n in os.listdir(place) if not n.endswith(".lock")) if place.exists() else []

    def image(self, name: str) -> Path:
        """The root that `.vagga/NAME` points to."""
        return (self.root / ".vagga" / name).resolve()


def shared_cache() -> Path:
    """Kept between runs: a Debian base is downloaded once on a machine."""
    place = Path(os.environ.get("MANOR_TEST_CACHE", "~/.cache/manor-tests")).expanduser() / "vagga"
    place.mkdir(parents=True, exist_ok=True)
    return place


def new_place() -> Path:
    """An empty directory for a project: in memory where there is plenty and overlays work there, else on disk.

    Images are tens of thousands of files, and on a busy disk making and deleting them takes most of a test's time.
    """
    shared_memory = Path("/dev/shm")
    roomy = shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > ROOM_BYTES
    place = Path(tempfile.mkdtemp(prefix="manor-vagga-", dir=shared_memory if roomy else None)).resolve()
    place.chmod(0o755)
    try:
        os.setxattr(place, "user.manor-test", b"x")  # tmpfs knows user attributes since Linux 6.6
    except OSError:
        place.rmdir()
        place = Path(tempfile.mkdtemp(prefix="manor-vagga-")).resolve()
        place.chmod(0o755)
    return place


@contextlib.contextmanager
def own_project() -> Iterator[ProjectFolder]:
    """A project and a home directory beside it; gone afterwards."""
    place = new_place()
    root, home = place / "project", place / "home"
    root.mkdir()
    home.mkdir()
    try:
        yield ProjectFolder(root, home, settings_text(shared_cache()))
    finally:
        remove_tree(place)


def settings_text(cache: Path) -> str:
    """Settings of the tests: the shared cache, and the host's certificates where it says it has its own."""
    bundle = os.environ.get("SSL_CERT_FILE")
    return f"{{cache-dir: {cache}{f', ca-bundle: {bundle}' if bundle else ''}}}"


def ensure_user() -> None:
    """The test user, its home, and its lines in /etc/subuid and /etc/subgid."""
    with locked(Path("/tmp/manor-test-user.lock")):
        try:
            pwd.getpwnam(USER)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
        for name in ("/etc/subuid", "/etc/subgid"):
            lines = Path(name).read_text().splitlines() if Path(name).exists() else []
            if f"{USER}:{SUBORDINATE}" not in lines:
                lines = [line for line in lines if not line.startswith(f"{USER}:")]
                Path(name).write_text("\n".join([*lines, f"{USER}:{SUBORDINATE}", ""]))


TINY_SETUP = """\
    - !Copy { source: /work/tiny, path: / }
    - !Text { /etc/passwd: "root:x:0:0:root:/root:/bin/sh\\nbin:x:1:1::/bin:/bin/sh\\n", /etc/group: "root:x:0:\\n" }
"""


def copy_programs(into: Path, programs: Sequence[str] = BUSY_PROGRAMS) -> None:
    """A few of the host's programs with the libraries they need: a root that works without any download."""
    found = [Path(shutil.which(name) or name) for name in programs]
    for program in found:
        place = into / "bin" / program.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(program.resolve(), place)
    for library in sorted({lib for program in found for lib in _libraries(program)}):
        place = into / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(library).resolve(), place)


def _libraries(program: Path) -> list[str]:
    output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [word for line in output.splitlines() for word in line.split() if word.startswith("/")]


def make_tiny(
    project: ProjectFolder, *, steps: str = "", options: str = "", containers: str = "", rest: str = ""
) -> ProjectFolder:
    """A container `tiny` with a shell and a few programs.

    Args:
        steps: further steps of it.
        options: further options of it.
        containers: further containers.
        rest: the rest of the file.
    """
    copy_programs(project.root / "tiny")
    if project.user is not None:
        entry = pwd.getpwnam(project.user)
        subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", project.root], check=True)
    parts = [(steps, 4), (options, 4), (containers, 2), (rest, 0)]
    added = [textwrap.indent(textwrap.dedent(text).rstrip() + "\n", " " * depth) for text, depth in parts if text]
    project.config("containers:\n  tiny:\n    setup:\n" + TINY_SETUP + "".join(added))
    return project


def wait_for(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def children_of(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def processes_in(root: Path) -> list[int]:
    """Processes whose working directory or mounts are of this project."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if str(root) in Path(f"/proc/{pid}/mountinfo").read_text() and int(pid) != os.getpid():
                found.append(int(pid))
    return found
