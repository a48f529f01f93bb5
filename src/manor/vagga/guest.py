"""What a build step may do with the root it works on: run programs, write and remove files, install packages.

Paths are those of the container; they are looked up inside the root, so that no symbolic link leads out of it. Before
the first use the mounts that every step can rely on are made (/dev, /proc, /sys, /run, /work, resolv.conf, hosts,
caches); at the end of the step they are gone again and only what the step changed is left in the layer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from manor.kernel import inside, mounts, namespaces
from manor.vagga.durable import remove_tree
from manor.vagga.errors import PreparationError
from manor.vagga.paths import normal
from manor.vagga.settings import Settings
from manor.vagga.state import BuildState
from manor.vagga.store import Store

if TYPE_CHECKING:
    from manor.vagga.packages.apt import Apt
    from manor.vagga.steps.interface import Inputs

BASE_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
CA_BUNDLE: Final = "/run/vagga/ca-bundle.crt"
CA_VARIABLES: Final = (
    "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
)  # fmt: skip  # what the usual clients read
EPOCH_MIN: Final = 315_532_800  # 1980: the oldest time that zip files, and so wheels, know
LAST_LINES: Final = 20
SKELETON: Final = ("dev", "etc", "proc", "run", "sys", "tmp", "work")
READ_BYTES: Final = 65536


class StepFailed(PreparationError):
    """A program of a step ended with a status, by a signal, or could not be started."""


class Guest:
    """One step's view of the root that is being built.

    Args:
        root: where the root is mounted, writable.
        log: where output goes besides standard error.
    """

    def __init__(
        self,
        *,
        container: str,
        root: Path,
        project: Path,
        store: Store,
        settings: Settings,
        state: BuildState,
        inputs: Inputs,
        log: BinaryIO,
        image_of: Callable[[str], Path],
        resolv_conf: str | None = "/etc/resolv.conf",
        hosts: str | None = "/etc/hosts",
    ) -> None:
        self.container = container
        self.root = root
        self.project = project
        self.store = store
        self.settings = settings
        self.state = state
        self.inputs = inputs
        self.image_of = image_of
        self.log = log
        self._host_files = {"/etc/resolv.conf": resolv_conf, "/etc/hosts": hosts}
        self._mounted: list[str] = []
        self._at_end: list[Callable[[], None]] = []

    # Files

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """A new file that belongs to root; what was there gives way, parents are made (0755)."""
        self.mount()
        os.close(self._parents(path))
        with inside.open_parent_inside(self.root, path) as (parent, name):
            self._make_way(parent, name, path)
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=parent)
            with open(fd, "wb") as file:
                file.write(content)
                os.fchmod(fd, mode)

    def make_directory(self, path: str) -> None:
        """A directory with its parents, 0755; an existing one is left alone."""
        self.mount()
        try:
            os.close(inside.make_directories_inside(self.root, path))
        except (NotADirectoryError, FileExistsError):
            raise PreparationError(f"cannot make the directory `{path}`: something else is in the way") from None

    def empty_directory(self, path: str) -> None:
        """Delete what is in a directory."""
        fd = inside.open_inside(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in os.listdir(fd):
                remove_tree(Path(f"/proc/self/fd/{fd}/{name}"))
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        """Delete a file, a link (not what it leads to) or a tree; missing is fine."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            inside.open_parent_inside(self.root, path) as (parent, name),
        ):
            remove_tree(Path(f"/proc/self/fd/{parent}/{name}"))

    def host_path(self, path: str, *, follow: bool = False) -> Path:
        """The place of a path of the root as this process sees it; links before the last part are followed."""
        if normal(path) == "/":
            return self.root
        if follow:
            fd = inside.open_inside(self.root, path, os.O_PATH)
            try:
                return Path(os.readlink(f"/proc/self/fd/{fd}"))
            finally:
                os.close(fd)
        with inside.open_parent_inside(self.root, path) as (parent, name):
            return Path(os.readlink(f"/proc/self/fd/{parent}")) / name

    def refuse_mount_point(self, path: str) -> None:
        """Some paths belong to vagga during a build."""
        self.mount()
        if normal(path) in (*(f"/{name}" for name in ("dev", "proc", "run", "sys", "work")), *self._mounted):
            raise PreparationError(f"`{path}` is a mount point of the build; choose a directory of the image")

    def _parents(self, path: str) -> int:
        return inside.make_directories_inside(self.root, os.path.dirname(normal(path)))

    def _make_way(self, parent: int, name: str, path: str) -> None:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            raise PreparationError(f"cannot write `{path}`: a directory is in the way")
        os.unlink(name, dir_fd=parent)

    # Programs

    def run(self, words: Sequence[str], *, environ: Mapping[str, str] = {}) -> None:
        """Run a program in /work as root; StepFailed unless it ends with 0."""
        self.mount()
        environment = {**self.environment(), **environ}

        def enter() -> None:
            os.umask(0o022)
            namespaces.unshare(namespaces.NEWNS)
            mounts.pivot_root(self.root)
            os.chdir("/work")

        try:
            self._run(words, environment, enter)
        except FileNotFoundError:
            raise StepFailed(f"`{words[0]}` was not found in PATH={environment['PATH']}") from None
        except PermissionError:
            raise StepFailed(f"`{words[0]}` is not executable") from None
        finally:
            _kill_what_is_left()

    def run_on_host(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Run a program of the host, inside the id map; its output is the step's."""
        try:
            self._run(words, environ, lambda: None)
        finally:
            _kill_what_is_left()

    def _run(self, words: Sequence[str], environment: Mapping[str, str], enter: Callable[[], None]) -> None:
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=enter,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            last = self._relay(process)
        if process.returncode:
            ending = (
                f"ended with status {process.returncode}"
                if process.returncode > 0
                else f"was ended by {signal.Signals(-process.returncode).name}"
            )
            tail = "".join(f"\n    {line}" for line in last) if self.quiet else ""
            raise StepFailed(f"`{_shown(words)}` {ending}{tail}")

    @property
    def quiet(self) -> bool:
        """Output is not shown as it comes, so a failure repeats its end."""
        return os.environ.get("VAGGA_PROGRESS") == "quiet"

    def _relay(self, process: subprocess.Popen[bytes]) -> list[str]:
        """Output to standard error and the log until the program has ended, also if others keep the pipe open."""
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        ended = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN | select.POLLHUP)
        poll.register(ended, select.POLLIN)
        os.set_blocking(process.stdout.fileno(), False)
        try:
            gone = False
            while True:
                ready = dict(poll.poll(0 if gone else None))
                gone = gone or ended in ready
                if gone:
                    with contextlib.suppress(KeyError):
                        poll.unregister(ended)
                block = b""
                with contextlib.suppress(BlockingIOError):
                    block = os.read(process.stdout.fileno(), READ_BYTES)
                if block:
                    self._show(block, last)
                elif gone:
                    return list(last)
                elif process.stdout.fileno() in ready:  # closed by all, but the program goes on
                    poll.unregister(process.stdout)
        finally:
            os.close(ended)

    def _show(self, block: bytes, last: deque[str]) -> None:
        self.log.write(block)
        self.log.flush()
        last.extend(block.decode(errors="replace").splitlines())
        if not self.quiet:
            sys.stderr.buffer.write(block)
            sys.stderr.buffer.flush()

    def environment(self) -> dict[str, str]:
        """Exactly the variables a step sees."""
        debian = self.state.distribution is not None and self.state.distribution.name in ("debian", "ubuntu")
        variables = {
            "PATH": BASE_PATH + (":/usr/games:/usr/local/games" if debian else ""),
            "HOME": "/tmp",
            "TERM": "dumb",
        }
        if self.state.distribution is not None:
            variables["LANG"] = "C.UTF-8" if self.state.distribution.name == "debian" else "en_US.UTF-8"
        if debian:
            variables["DEBIAN_FRONTEND"] = "noninteractive"
        if self.state.epoch is not None and self.state.epoch >= EPOCH_MIN:
            variables["SOURCE_DATE_EPOCH"] = str(self.state.epoch)
        variables |= self.host_variables()
        if self.settings.ca_bundle is not None:
            variables |= dict.fromkeys(CA_VARIABLES, CA_BUNDLE)
        return {**variables, **self.state.environ}

    def host_variables(self) -> dict[str, str]:
        """Proxies as on the host, if the settings do not forbid it."""
        if self.settings.proxy_env_vars is False:
            return {}
        return {name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ}

    # Packages

    def packages(self) -> Apt:
        """The package manager of the distribution."""
        if self.state.distribution is None:
            raise PreparationError("this step needs a distribution; put a step such as `!Debian` before it")
        from manor.vagga.packages.apt import Apt

        return Apt(self)

    def cache_directory(self, name: str) -> Path:
        """A directory of the cache, made if missing."""
        directory = self.store.cache / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    # Mounts

    def mount(self) -> None:
        """Make the mounts that a step can rely on, once."""
        if self._mounted:
            return
        for name in SKELETON:
            os.close(inside.make_directories_inside(self.root, name))
        self._bind("/dev", "/dev")
        self._mount_at(
            "/dev/pts", lambda at: mounts.mount("devpts", at, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
        )
        self._mount_at(
            "/proc", lambda at: mounts.mount("proc", at, "proc", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC)
        )
        self._bind("/sys", "/sys")
        self._mount_at(
            "/run", lambda at: mounts.mount("tmpfs", at, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755")
        )
        os.mkdir(self.root / "run/shm", 0o1777)
        os.chmod(self.root / "run/shm", 0o1777)
        self._bind(str(self.project), "/work")
        for host, path in self._host_files.items():
            self._bind_host_file(host, path)
        if self.settings.ca_bundle is not None:
            self.mount_file(os.path.expanduser(self.settings.ca_bundle), CA_BUNDLE)

    def mount_file(self, host: str, path: str) -> None:
        """Show a file of the host, read-only, at a path below /run/vagga: no trace of it is left."""
        assert path.startswith("/run/vagga/")
        os.makedirs(self.root / "run/vagga", exist_ok=True)
        (self.root / path.lstrip("/")).touch()
        self._mount_at(path, lambda at: mounts.bind(host, at, read_only=True, recursive=False))

    def mount_directory(self, host: Path, path: str) -> None:
        """Show a directory of the host at a path below /run/vagga."""
        assert path.startswith("/run/vagga/")
        os.makedirs(self.root / path.lstrip("/"), exist_ok=True)
        self._bind(str(host), path)

    def mount_view(self, host: Path, path: str, *, save: Callable[[Path], None]) -> None:
        """Show a cache directory through an overlay, so that builds at the same time do not disturb each other.

        Args:
            save: gets the directory with what was added when the step has succeeded.
        """
        self.mount()
        os.close(inside.make_directories_inside(self.root, path))
        extra = self.root.parent / f"view.{len(self._mounted)}"
        (extra / "upper").mkdir(parents=True)
        (extra / "work").mkdir()
        self._mount_at(
            path,
            lambda at: mounts.overlay(
                at, lower=[host], upper=extra / "upper", work=extra / "work", options={"userxattr": None}
            ),
        )
        self._at_end.append(lambda: save(extra / "upper"))
        self._at_end.append(lambda: remove_tree(extra))

    def finish(self, *, succeeded: bool) -> None:
        """Undo the mounts; afterwards the layer holds what the step changed."""
        for path in reversed(self._mounted):
            mounts.unmount(path, lazy=True)
        self._mounted = []
        at_end, self._at_end = self._at_end, []
        for action in at_end:
            if succeeded:
                action()

    def _bind(self, host: str, path: str) -> None:
        self._mount_at(path, lambda at: mounts.bind(host, at))

    def _mount_at(self, path: str, make: Callable[[str], None]) -> None:
        fd = inside.open_inside(self.root, path, os.O_PATH)
        try:
            at = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        try:
            make(at)
        except OSError as error:
            raise PreparationError(f"cannot mount `{path}` for the build: {error.strerror}") from error
        self._mounted.append(at)

    def _bind_host_file(self, host: str, path: str | None) -> None:
        """The host's resolv.conf or hosts over the file of the root, which is made if it is missing."""
        if path is None or not os.path.exists(host):
            return
        try:
            os.close(self._parents(path))
            fd = inside.open_inside(self.root, path, os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                from manor.vagga.errors import warn

                warn(f"`{path}` of container `{self.container}` leads nowhere; the host's {host} is not mounted")
                return
            raise
        os.close(fd)
        self._mount_at(path, lambda at: mounts.bind(os.path.realpath(host), at, read_only=True, recursive=False))


def _kill_what_is_left() -> None:
    """Kill everything a step has left running: we are pid 1 of the namespace, and -1 means all but us."""
    assert os.getpid() == 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _shown(words: Sequence[str]) -> str:
    line = " ".join(" ".join(words).split())
    return line if len(line) <= 200 else line[:199] + "…"
