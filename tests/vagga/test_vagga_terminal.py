"""Terminals: an interactive shell inside, told step by step; and jobs of the shell outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from vagga_projects import ProjectFolder, wait_for

Tiny = Callable[..., ProjectFolder]

pytestmark = pytest.mark.system

WITHIN_S = 60.0


class Typist:
    """Somebody at a terminal in which vagga runs."""

    def __init__(self, project: ProjectFolder, *words: str) -> None:
        self.fd, self.secondary = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.secondary)
        self.process = subprocess.Popen(
            project.words(*words),
            cwd=project.root,
            env=project.environment(),
            stdin=self.secondary,
            stdout=self.secondary,
            stderr=self.secondary,
            preexec_fn=self._lead,
        )
        self.seen = b""

    def _lead(self) -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def wait_for(self, text: bytes) -> bytes:
        """What was shown up to the text, which must come."""
        deadline = time.monotonic() + WITHIN_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come; there is {self.seen!r}"
            if select.select([self.fd], [], [], 0.5)[0]:
                self.seen += os.read(self.fd, 4096)
        shown, _, self.seen = self.seen.partition(text)
        return shown

    def mode_is_as_before(self) -> bool:
        return termios.tcgetattr(self.secondary) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.secondary)


@pytest.fixture
def shell(tiny: Tiny) -> Iterator[Typist]:
    project = tiny(
        rest="commands:\n  sh: !Command { container: tiny, run: [bash, --norc, -i], environ: { PS1: 'ready> ' } }\n"
    )
    project.out("_build", "tiny")
    typist = Typist(project, "sh")
    with contextlib.closing(typist):
        yield typist


@pytest.mark.case("vagga-50")
def test_an_interactive_shell_has_its_terminal_and_jobs(shell: Typist) -> None:
    assert b"no job control" not in shell.wait_for(b"ready> ")
    shell.type(b"stty size\n")
    shell.wait_for(b"24 80")
    shell.wait_for(b"ready> ")
    shell.type(b"sleep 1000\n")
    shell.wait_for(b"sleep 1000\r\n")
    shell.type(b"\x1a")  # Ctrl-Z
    shell.wait_for(b"Stopped")
    shell.wait_for(b"ready> ")
    shell.type(b"fg\n")
    shell.wait_for(b"sleep 1000\r\n")
    shell.type(b"\x03")  # Ctrl-C ends the inner program, not the shell
    shell.wait_for(b"ready> ")
    shell.resize(33, 99)
    shell.process.send_signal(signal.SIGWINCH)
    shell.type(b"until [ \"$(stty size)\" = '33 99' ]; do :; done; echo resi''zed\n")
    shell.wait_for(b"resized")
    assert not shell.mode_is_as_before()
    shell.process.send_signal(signal.SIGTSTP)
    wait_for(lambda: state(shell.process.pid) == "T")
    assert shell.mode_is_as_before()
    shell.process.send_signal(signal.SIGCONT)
    shell.wait_for(b"ready> ")
    shell.type(b"echo a''live\n")
    shell.wait_for(b"alive")
    shell.type(b"exit 5\n")
    assert shell.process.wait(timeout=WITHIN_S) == 5
    assert shell.mode_is_as_before()


def test_the_terminal_is_given_back_when_vagga_is_ended(shell: Typist) -> None:
    shell.wait_for(b"ready> ")
    shell.process.send_signal(signal.SIGTERM)  # an interactive shell ignores it
    shell.type(b"echo still h''ere\n")
    shell.wait_for(b"still here")
    shell.process.send_signal(signal.SIGTERM)
    assert shell.process.wait(timeout=WITHIN_S) == 137
    assert shell.mode_is_as_before()


@pytest.mark.case("vagga-51")
def test_a_stopped_job_stands_still_and_goes_on(tiny: Tiny) -> None:
    script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.02; done"
    project = tiny(rest=f"commands:\n  count: !Command {{ container: tiny, run: '{script}' }}\n")
    with project.start("count", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as vagga:
        assert vagga.stdout is not None
        assert vagga.stdout.readline() == b"0\n"
        vagga.send_signal(signal.SIGTSTP)
        wait_for(lambda: state(vagga.pid) == "T")
        os.set_blocking(vagga.stdout.fileno(), False)
        wait_for(lambda: not read_all(vagga.stdout.fileno()) and not select.select([vagga.stdout], [], [], 0.3)[0])
        vagga.send_signal(signal.SIGCONT)
        wait_for(lambda: bool(read_all(vagga.stdout.fileno())))
        vagga.send_signal(signal.SIGTERM)
        assert vagga.wait(timeout=WITHIN_S) == 143


def test_a_terminal_can_be_refused_and_forced(tiny: Tiny) -> None:
    project = tiny(rest="commands:\n  tty: !Command { container: tiny, run: '[ -t 1 ] && echo yes || echo no' }\n")
    project.out("_build", "tiny")
    assert project.out("tty") == "no\n"
    assert project.out("--tty", "tty") == "yes\r\n"
    with contextlib.closing(Typist(project, "--no-tty", "tty")) as typist:
        typist.wait_for(b"yes")  # the caller's own terminal, as it is
        assert typist.process.wait(timeout=WITHIN_S) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_says_so_and_leaves_nothing(tiny: Tiny, number: int, status: int) -> None:
    project = tiny(steps="- !Sh 'echo on; touch /work/reached; sleep 1000'")
    with project.start("_build", "tiny", stderr=subprocess.PIPE) as vagga:
        wait_for((project.root / "reached").exists)
        vagga.send_signal(number)
        assert vagga.wait(timeout=WITHIN_S) == status
        assert vagga.stderr is not None
        assert vagga.stderr.read().endswith(b"vagga: interrupted\n")
    assert not [name for name in project.roots if name.startswith("tiny.")]


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def read_all(fd: int) -> bytes:
    found = b""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(fd, 65536):
            found += data
    return found
