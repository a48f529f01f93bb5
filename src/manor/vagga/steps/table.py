"""All build steps, by their tags. To add one: write its file, and name it here; `docs/internals.md` has the checklist.

A step's module is imported when the step is met: a warm command pays for the steps of its container only.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Final, cast

STEPS: Final = {
    "Build": "build",
    "BuildDeps": "build_deps",
    "Cmd": "cmd",
    "Container": "container",
    "Copy": "copy",
    "Debian": "debian",
    "Depends": "depends",
    "EmptyDir": "empty_dir",
    "EnsureDir": "ensure_dir",
    "Env": "env",
    "Install": "install",
    "PipConfig": "pip_config",
    "Py3Install": "py3_install",
    "Py3Requirements": "py3_requirements",
    "Remove": "remove",
    "Sh": "sh",
    "Text": "text",
}

NOT_YET: Final = (
    "Alpine", "AlpineRepo", "AptTrust", "CacheDirs", "ComposerConfig", "ComposerDependencies", "ComposerInstall",
    "Download", "GemBundle", "GemConfig", "GemInstall", "Git", "GitDescribe", "GitInstall", "Image", "NpmConfig",
    "NpmDependencies", "NpmInstall", "Py2Install", "Py2Requirements", "Repo", "RunAs", "SubConfig", "Tar", "TarInstall",
    "Ubuntu", "UbuntuPPA", "UbuntuRelease", "UbuntuRepo", "UbuntuUniverse", "Unzip", "YarnDependencies",
)  # fmt: skip


@cache
def step_class(name: str) -> type[Any]:
    """The struct of a step; KeyError for an unknown name."""
    return cast("type[Any]", getattr(importlib.import_module(f"manor.vagga.steps.{STEPS[name]}"), name))
