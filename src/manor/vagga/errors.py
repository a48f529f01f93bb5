"""How vagga fails, and with which exit status.

    ManorError
        VaggaError
            ConfigurationError    126   vagga.yaml, settings, no project
            UsageError            122   the command line; the owner check
            PreparationError      121   a build, a download, id maps, locks, the runtime, an unknown command
            NeedsBuild             29   an image is wanted and may not be built
            UnknownVersion         29   a version depends on something that is not there yet
            SetupError            124   the container or its program could not be started

Entry files print the message behind `vagga: `. Warnings are printed by `warn`, each once in a run.
"""

from __future__ import annotations

import os
import sys

from manor.config.errors import ManorError


class VaggaError(ManorError):
    """Any failure that a user of vagga can cause and mend."""


class ConfigurationError(VaggaError):
    """vagga.yaml, a mixin or settings cannot be used, or there is no project."""

    exit_status = 126


class UsageError(VaggaError):
    """The command line makes no sense."""

    exit_status = 122


class PreparationError(VaggaError):
    """What is needed before the command could not be made."""

    exit_status = 121


class NeedsBuild(VaggaError):
    """An image is needed and may not be built."""

    exit_status = 29


class UnknownVersion(VaggaError):
    """The version hash depends on something that is not there yet.

    Attributes:
        missing: what, as a person would name it.
    """

    exit_status = 29

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(f"the version is not known before {missing} exists")


class SetupError(VaggaError):
    """The container could not be set up, or its program not be started."""

    exit_status = 124


_warned: set[str] = set()


def warn(text: str) -> None:
    """Tell a user something that stops nobody; the same text is told once in a run, and nothing with `-q`."""
    if text not in _warned and os.environ.get("VAGGA_PROGRESS") != "quiet":
        _warned.add(text)
        print(f"vagga: warning: {text}", file=sys.stderr)
