"""All build steps. To add one: write its file, and name it here; `docs/internals.md` has the checklist."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from manor.config.units import UnsupportedTags
from manor.vagga.steps import interface
from manor.vagga.steps.build import Build
from manor.vagga.steps.build_deps import BuildDeps
from manor.vagga.steps.cmd import Cmd
from manor.vagga.steps.container import Container
from manor.vagga.steps.copy import Copy
from manor.vagga.steps.debian import Debian
from manor.vagga.steps.depends import Depends
from manor.vagga.steps.empty_dir import EmptyDir
from manor.vagga.steps.ensure_dir import EnsureDir
from manor.vagga.steps.env import Env
from manor.vagga.steps.install import Install
from manor.vagga.steps.pip_config import PipConfig
from manor.vagga.steps.py3_install import Py3Install
from manor.vagga.steps.py3_requirements import Py3Requirements
from manor.vagga.steps.remove import Remove
from manor.vagga.steps.sh import Sh
from manor.vagga.steps.text import Text

STEPS: Final[tuple[type[Any], ...]] = (
    Build,
    BuildDeps,
    Cmd,
    Container,
    Copy,
    Debian,
    Depends,
    EmptyDir,
    EnsureDir,
    Env,
    Install,
    PipConfig,
    Py3Install,
    Py3Requirements,
    Remove,
    Sh,
    Text,
)

NOT_YET: Final = (
    "Alpine", "AlpineRepo", "AptTrust", "CacheDirs", "ComposerConfig", "ComposerDependencies", "ComposerInstall",
    "Download", "GemBundle", "GemConfig", "GemInstall", "Git", "GitDescribe", "GitInstall", "Image", "NpmConfig",
    "NpmDependencies", "NpmInstall", "Py2Install", "Py2Requirements", "Repo", "RunAs", "SubConfig", "Tar", "TarInstall",
    "Ubuntu", "UbuntuPPA", "UbuntuRelease", "UbuntuRepo", "UbuntuUniverse", "Unzip", "YarnDependencies",
)  # fmt: skip

if TYPE_CHECKING:
    AnyStep: TypeAlias = interface.Step
else:
    AnyStep = Annotated[reduce(or_, STEPS), UnsupportedTags(NOT_YET)]
