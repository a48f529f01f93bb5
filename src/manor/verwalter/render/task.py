"""What a render command works with while it is executed: names, limits, the log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.config.errors import ManorError
from manor.verwalter.render.limits import Limits

CHILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(ManorError):
    """`lithos_switch site /tmp/x`: exit status 1"""

    exit_status = 20


@dataclass(frozen=True, slots=True)
class Task:
    """One renderer file being executed.

    Attributes:
        names: what `{{ NAME }}` may stand for.
        directory: of the render file; working directory of the commands.
        changed: whether one of the watched directories looks otherwise than before the first command.
    """

    role: str
    deployment: str
    names: Mapping[str, str]
    directory: Path
    limits: Limits
    dry_run: bool
    say: Callable[[str], None]
    output: int  # descriptor for the output of children
    timeout_s: float
    changed: Callable[[str], bool]

    def announce(self, name: str, text: str) -> None:
        self.say(f"{'(dry_run) ' if self.dry_run else ''}{name} {text}")

    def run(self, argv: Sequence[str], *, asked_for: str) -> None:
        """Run a program to its end.

        Args:
            asked_for: the program that the limits are about; `sudo` in front of it is not.
        Raises:
            CommandFailed: refused, not startable, status, signal or time.
        """
        shown = " ".join(argv)
        if refusal := self.limits.command_refusal(asked_for):
            raise CommandFailed(refusal)
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                cwd=self.directory,
                env=self._environment(),
                timeout=self.timeout_s,
            )
        except OSError as error:
            raise CommandFailed(f"`{shown}`: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"`{shown}`: still running after {self.timeout_s:g} s, killed") from error
        if done.returncode < 0:
            raise CommandFailed(f"`{shown}`: killed by signal {-done.returncode}")
        if done.returncode > 0:
            raise CommandFailed(f"`{shown}`: exit status {done.returncode}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": CHILD_PATH,
            "LANG": "C.UTF-8",
            "HOME": os.environ.get("HOME", "/"),
            "VERWALTER_ROLE": self.role,
            "VERWALTER_DEPLOYMENT_ID": self.deployment,
        }
