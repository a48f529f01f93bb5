"""What a render command works with while it is executed: names, a place to tell, a way to run programs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.verwalter.render.errors import CommandFailed

CHILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One render file being executed.

    Attributes:
        names: what `{{ NAME }}` may stand for.
        directory: of the render file; working directory of the commands.
        changed: whether a watched directory looks otherwise than before the first command.
    """

    role: str
    deployment: str
    names: Mapping[str, str]
    directory: Path
    dry_run: bool
    say: Callable[[str], None]
    output: int  # descriptor for the output of children
    timeout_s: float
    changed: Callable[[str], bool]

    def announce(self, name: str, text: str) -> None:
        self.say(f"{'(dry_run) ' if self.dry_run else ''}{name} {text}")

    def run(self, argv: Sequence[str]) -> None:
        """Run a program to its end. Raises CommandFailed: not startable, status, signal or time."""
        shown = " ".join(argv)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                cwd=self.directory,
                env=self._environment(),
                process_group=0,  # to end what it started along with it
            )
        except OSError as error:
            raise CommandFailed(f"`{shown}`: {error.strerror}") from error
        except ValueError as error:
            raise CommandFailed(f"`{shown}`: {error}") from error
        try:
            status = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise CommandFailed(f"`{shown}`: still running after {self.timeout_s:g} s, killed") from error
        except BaseException:  # we are told to end
            _kill(process)
            raise
        if status < 0:
            raise CommandFailed(f"`{shown}`: killed by signal {-status}")
        if status > 0:
            raise CommandFailed(f"`{shown}`: exit status {status}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": CHILD_PATH,
            "LANG": "C.UTF-8",
            "HOME": os.environ.get("HOME", "/"),
            "VERWALTER_ROLE": self.role,
            "VERWALTER_DEPLOYMENT_ID": self.deployment,
        }


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or root's behind sudo
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
