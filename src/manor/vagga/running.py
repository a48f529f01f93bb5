"""Running a program in a container: the outer half waits and passes signals on, the inner half starts it.

The inner half is pid 1 of the enclosure. It assembles the root, writes the bundle onto the stage's tmpfs, calls the
OCI runtime, and reaps until the container's first process has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, Literal

from manor.container import bundle
from manor.container.defaults import PROC
from manor.container.init import find_init, init_arguments, is_own_init
from manor.container.runtime import Runtime, RuntimeBinary, closed_gaps
from manor.kernel import inside, pidfds
from manor.vagga.config import Container
from manor.vagga.durable import host_pid, remove_tree
from manor.vagga.enclosure import Channel, Enclosure
from manor.vagga.environ import home_of, parse_environ_file
from manor.vagga.errors import PreparationError, SetupError
from manor.vagga.id_ranges import Maps
from manor.vagga.settings import Settings
from manor.vagga.stage import Stage, View
from manor.vagga.store import Store
from manor.vagga.volumes.interface import Volume

if TYPE_CHECKING:
    from manor.vagga.terminal import Relay

COMMAND: Final = b"command"  # the words that descriptors come with: pidfd of the container's first process
INSIDE: Final = b"inside"  # pidfd of the inner half
TERMINAL: Final = b"terminal"  # the other end of the command's terminal

NAME: Final = "vagga"  # of the container, to the runtime; its states are in a directory of our own

STOP_ALL: Final = signal.SIGUSR1  # what the inner half is asked by
CONTINUE_ALL: Final = signal.SIGUSR2

ENVIRON_FILE_BYTES_MAX: Final = 1 << 20
PASSWD_BYTES_MAX: Final = 1 << 20

# All that capabilities(7) knows; inside of a user namespace they reach nothing outside of it.
_NAMES: Final = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
    FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
    NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
    SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES: Final = tuple(f"CAP_{name}" for name in _NAMES.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One program to be run.

    Attributes:
        words: program and arguments; `shell` before them if it was given as text.
        environ: makes the environment from the container's environ-file and the home directory.
        stdio: what becomes descriptors 0 to 2; None for one that the caller has closed.
        listening: a socket passed as descriptor 3.
        terminal: it gets a terminal of its own, which is relayed to ours.
    """

    container: Container
    maps: Maps
    view: View
    words: Sequence[str]
    work_dir: str
    volumes: Mapping[str, Volume]
    environ: Callable[[Mapping[str, str], str], Mapping[str, str]]
    stdio: tuple[int | None, int | None, int | None]
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    external_uid: int | None = None
    isolate_network: bool = False
    pid1: Literal["wait", "wait-all-children", "exec"] = "wait"
    listening: int | None = None
    terminal: bool = False


def run(launch: Launch, project: Path, store: Store, settings: Settings, runtime: RuntimeBinary) -> int:
    """Run it and wait; the exit status, 128 + N for one that signal N ended."""
    launcher = _Launcher(launch, project, store, settings, runtime)
    umask = os.umask(0o022)
    os.umask(umask)
    enclosure = Enclosure(launch.maps, lambda channel: str(launcher.start(channel, umask)))
    with _Outside(enclosure) as outside:
        return int(enclosure.wait(outside.found, outside.relay_output))


class _Outside:
    """The outer half while the command runs: signals that come are passed on, its terminal is relayed."""

    TO_THE_COMMAND = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, enclosure: Enclosure) -> None:
        self._enclosure = enclosure
        self._command: int | None = None  # pidfds
        self._inside: int | None = None
        self._relay: Relay | None = None
        self._before: list[int] = []
        self._terms = 0
        self._old: dict[int, object] = {}

    def __enter__(self) -> _Outside:
        for number in self.TO_THE_COMMAND:
            self._old[number] = signal.signal(number, self._pass_on)
        for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            self._old[number] = signal.signal(number, self._stop)
        self._old[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resize)
        return self

    def __exit__(self, *_: object) -> None:
        if self._relay is not None:
            self._relay.drain()
            self._relay.close()
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        for pidfd in (self._command, self._inside):
            if pidfd is not None:
                os.close(pidfd)

    def found(self, word: bytes, fd: int) -> None:
        """A descriptor has come from inside."""
        if word == COMMAND:
            self._command = fd
            for number in self._before:
                self._send(fd, number)
        elif word == INSIDE:
            self._inside = fd
        else:
            from manor.vagga.terminal import Relay

            self._relay = Relay(fd, 0, 1)

    def relay_output(self) -> None:
        """Called while nothing else is to be done."""
        if self._relay is not None:
            self._relay.until(self._enclosure)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._terms += number == signal.SIGTERM
        if self._terms > 1:
            number = signal.SIGKILL
        if self._command is None:
            self._before.append(number)
        else:
            self._send(self._command, number)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """First the container, then ourselves; when we continue, so does the container."""
        if self._relay is not None:
            self._relay.give_back()
        if self._inside is not None:
            self._send(self._inside, STOP_ALL)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._relay is not None:
            self._relay.take()
        if self._inside is not None:
            self._send(self._inside, CONTINUE_ALL)

    def _resize(self, number: int, frame: FrameType | None) -> None:
        if self._relay is not None:
            self._relay.resize()

    @staticmethod
    def _send(pidfd: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            pidfds.send_signal(pidfd, number)


class _Launcher:
    """The inner half."""

    def __init__(self, launch: Launch, project: Path, store: Store, settings: Settings, runtime: RuntimeBinary) -> None:
        self._launch = launch
        self._stage = Stage(store.stage, project, store, settings)
        self._runtime = runtime
        self._init = find_init(settings.container_init or "auto")
        if launch.pid1 == "wait-all-children" and not is_own_init(self._init):
            raise PreparationError("`pid1mode: wait-all-children` needs manor's own init; set `container-init: auto`")

    def start(self, channel: Channel, umask: int) -> int:
        launch, stage = self._launch, self._stage
        try:
            stage.assemble(launch.view, launch.container, launch.volumes)
            _shut_cgroups()
            environment = self._environment()
            self._check_work_dir()
            words = self._found_program(environment.get("PATH", ""))
            return self._run(channel, words, environment, umask)
        finally:
            if launch.view.upper is not None:
                _unmount_and_remove(launch.view.upper, stage)

    def _environment(self) -> Mapping[str, str]:
        launch = self._launch
        from_file: Mapping[str, str] = {}
        path = launch.container.environ_file
        if path is not None:
            try:
                text = inside.read_inside(self._stage.root, path, ENVIRON_FILE_BYTES_MAX).decode(
                    errors="surrogateescape"
                )
            except OSError as error:
                raise SetupError(f"{path}:1:1: cannot read the environ-file: {error.strerror}") from None
            from_file = parse_environ_file(text, path)
        passwd = ""
        with contextlib.suppress(OSError):
            passwd = inside.read_inside(self._stage.root, "/etc/passwd", PASSWD_BYTES_MAX).decode(errors="replace")
        return launch.environ(from_file, home_of(passwd, launch.uid))

    def _check_work_dir(self) -> None:
        path = self._launch.work_dir
        try:
            is_directory = stat.S_ISDIR(inside.stat_inside(self._stage.root, path).st_mode)
        except OSError:
            is_directory = False
        if not is_directory:
            raise SetupError(
                f"the work directory `{path}` does not exist in the container; create it or change `work-dir`"
            )

    def _found_program(self, path: str) -> list[str]:
        """The words with the program's place; SetupError when there is none."""
        name, *arguments = self._launch.words
        if "/" in name:
            places = [os.path.join(self._launch.work_dir, name)]
        else:
            places = [f"{directory or '.'}/{name}" for directory in path.split(":")]
        for place in places:
            with contextlib.suppress(OSError):
                status = inside.stat_inside(self._stage.root, place)
                if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                    return [place, *arguments]
        searched = "" if "/" in name else f" in PATH={path}"
        raise SetupError(f"the program `{name}` is missing or not executable{searched}; install it in the image")

    def _run(self, channel: Channel, words: Sequence[str], environment: Mapping[str, str], umask: int) -> int:
        launch, place = self._launch, self._stage.place
        init = os.open(self._init, os.O_RDONLY | os.O_CLOEXEC)
        fds = {3: launch.listening} if launch.listening is not None else {}
        init_fd = 4 if fds else 3
        if launch.pid1 != "exec" or launch.external_uid is not None:
            fds[init_fd] = init
            closed = [number for number, fd in enumerate(launch.stdio) if fd is None]
            options = init_arguments(
                close=[*closed, init_fd, *closed_gaps(fds)],
                wait_all=launch.pid1 == "wait-all-children",
                execute_in_place=launch.pid1 == "exec",
                user=(launch.uid, launch.gid, *launch.groups) if launch.external_uid is not None else (),
                user_namespace=(launch.uid, launch.external_uid) if launch.external_uid is not None else None,
            )
            words = [f"/proc/self/fd/{init_fd}", *options, *words]
        config = self._config(words, environment, umask)
        made = bundle.write_bundle(place / "bundle", config)
        runtime = Runtime(self._runtime, place / "runtime", cgroup_manager="disabled")
        _listen_to_vagga(channel)
        start = self._start_with_terminal if launch.terminal else self._start
        pid = start(runtime, made.path, fds, channel)
        os.close(init)
        with contextlib.suppress(ProcessLookupError):
            pidfd = pidfds.open_pidfd(pid)
            channel.send_fd(COMMAND, pidfd)
            os.close(pidfd)
        return _reap_until(pid)

    def _start(self, runtime: Runtime, made: Path, fds: Mapping[int, int], channel: Channel) -> int:
        """With the caller's own descriptors."""
        place, (stdin, stdout, stderr) = self._stage.place, self._launch.stdio
        return runtime.run_detached(
            NAME, made, pid_file=place / "pid", log=place / "log", fds=fds, stdin=stdin, stdout=stdout, stderr=stderr
        )

    def _start_with_terminal(self, runtime: Runtime, made: Path, fds: Mapping[int, int], channel: Channel) -> int:
        """With a terminal of its own, which has our size before the program begins."""
        from manor.container.console import ConsoleSocket
        from manor.vagga.terminal import set_size, size_of

        place = self._stage.place
        os.chdir(made)  # as the runtime will: the name of a socket is at most 107 bytes long
        with ConsoleSocket(Path("console")) as console:
            pid = runtime.create(
                NAME, made, pid_file=place / "pid", log=place / "log", fds=fds, stdin=None, stdout=None, stderr=None,
                console_socket=console.path,
            )  # fmt: skip
            master = console.receive()
        with contextlib.suppress(OSError):
            set_size(master, size_of(1))
        channel.send_fd(TERMINAL, master)
        os.close(master)
        runtime.start(NAME)
        return pid

    def _config(self, words: Sequence[str], environment: Mapping[str, str], umask: int) -> bundle.Config:
        launch = self._launch
        own_user = launch.external_uid is None
        uid, gid = (launch.uid, launch.gid) if own_user else (0, 0)
        full = bundle.Capabilities.same(CAPABILITIES)
        limited = bundle.Capabilities(bounding=CAPABILITIES)
        kinds = ["pid", "mount", "ipc", *(["network"] if launch.isolate_network else [])]
        return bundle.Config(
            process=bundle.Process(
                args=tuple(words),
                terminal=launch.terminal,
                cwd=launch.work_dir,
                env=tuple(f"{name}={value}" for name, value in environment.items()),
                user=bundle.User(
                    uid=uid, gid=gid, umask=umask, additional_gids=tuple(launch.groups) if own_user else ()
                ),
                capabilities=full if uid == 0 else limited,
            ),
            root=bundle.Root(path=str(self._stage.root)),
            mounts=(
                # A runtime that sees no /dev in the list would put devices of its own into the host's.
                bundle.Mount(destination="/dev", type="bind", source=f"{self._stage.root}/dev", options=("rbind",)),
                PROC,
            ),
            linux=bundle.Linux(namespaces=tuple(bundle.Namespace(type=kind) for kind in kinds)),
        )


def _listen_to_vagga(channel: Channel) -> None:
    """Stop and continue everything in the namespace but ourselves when vagga asks for it."""
    signal.signal(STOP_ALL, lambda *_: _signal_all(signal.SIGSTOP))
    signal.signal(CONTINUE_ALL, lambda *_: _signal_all(signal.SIGCONT))
    own = pidfds.open_pidfd(os.getpid())
    channel.send_fd(INSIDE, own)
    os.close(own)


def _signal_all(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)


def _shut_cgroups() -> None:
    """Make the cgroup hierarchies read-only, so that the runtime leaves the command in the caller's cgroup."""
    from manor.kernel import mounts

    with contextlib.suppress(FileNotFoundError):
        mounts.bind("/sys/fs/cgroup", "/sys/fs/cgroup", read_only=True)


def _reap_until(pid: int) -> int:
    """Collect orphans until the container's first process ends; its status as a shell would give it."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _unmount_and_remove(upper: Path, stage: Stage) -> None:
    from manor.kernel import mounts

    with contextlib.suppress(OSError):
        mounts.unmount(stage.root, lazy=True)
    remove_tree(upper)


def transient_view(store: Store, image_name: str) -> Path:
    """The place of a writable view; its name ends with the pid of its user."""
    return store.transient / f"{image_name}.{host_pid()}"


def stale_views(store: Store) -> Iterator[Path]:
    """Views whose user was killed."""
    from manor.vagga.durable import maker_is_gone

    for name in sorted(os.listdir(store.transient)):
        if maker_is_gone(name):
            yield store.transient / name
