"""The public door of lithos: structs and readers of its four kinds of config files and of status.json.

    read_master(path)                     /etc/lithos/master.yaml
    read_sandbox(path)                    SANDBOXES_DIR/NAME.yaml
    read_processes(path)                  PROCESSES_DIR/NAME.yaml
    read_container(image, "/config/x.yaml")   a file inside an image, looked up as if the image were `/`
    read_status(path)                     RUNTIME_DIR/status.json

Each config reader gives a `Document`: the value, and the place of everything in it. What cannot be read, or is wrong,
is a ConfigError with all problems. What one file alone cannot say (is the user allowed?) is in `rules/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from manor.config.dialect import LITHOS
from manor.config.errors import Position
from manor.config.loader import ConfigError, Document, Problem, load, load_file
from manor.kernel.inside import read_inside
from manor.lithos.files.container import ContainerConfig
from manor.lithos.files.master import DEFAULT_MASTER_CONFIG, MasterConfig, Places
from manor.lithos.files.names import InstanceName, is_plain_name, is_process_name
from manor.lithos.files.processes import ProcessEntry, ProcessesConfig, name_problems
from manor.lithos.files.sandbox import SandboxConfig
from manor.lithos.files.status import InstanceStatus, MasterStatus, read_status

__all__ = [
    "DEFAULT_MASTER_CONFIG",
    "ConfigError",
    "ContainerConfig",
    "InstanceName",
    "InstanceStatus",
    "MasterConfig",
    "MasterStatus",
    "Places",
    "ProcessEntry",
    "ProcessesConfig",
    "SandboxConfig",
    "is_plain_name",
    "is_process_name",
    "load_container_file",
    "parse_container",
    "parse_processes",
    "parse_sandbox",
    "read_container",
    "read_master",
    "read_processes",
    "read_sandbox",
    "read_status",
    "sandbox_names",
]

Warn = Callable[[Problem], None]

SANDBOX_SUFFIX: Final = ".yaml"


def read_master(path: Path = DEFAULT_MASTER_CONFIG) -> Document[MasterConfig]:
    return load_file(path, MasterConfig, LITHOS)


def sandbox_names(directory: Path) -> list[str]:
    """The names of the sandbox files of a directory, in order; whether a name is legal is not asked. Raises OSError."""
    return sorted(
        path.name.removesuffix(SANDBOX_SUFFIX)
        for path in directory.iterdir()
        if path.name.endswith(SANDBOX_SUFFIX) and not path.name.startswith((".", "#")) and path.is_file()
    )


def read_sandbox(path: Path, *, warn: Warn | None = None) -> Document[SandboxConfig]:
    """The name of a sandbox is that of its file, and must be one that instances can bear."""
    name = path.name.removesuffix(SANDBOX_SUFFIX)
    if not is_plain_name(name):
        text = f"sandbox name `{name}` has other characters than letters, digits, `_`, `.` and `-`; rename the file"
        raise ConfigError([Problem(Position(str(path), 1, 1), text, "Validation Error")])
    return load_file(path, SandboxConfig, LITHOS, warn=warn)


def parse_sandbox(text: bytes, file: str, *, warn: Warn | None = None) -> Document[SandboxConfig]:
    return load(text, file, SandboxConfig, LITHOS, warn=warn)


def read_processes(path: Path, *, warn: Warn | None = None) -> Document[ProcessesConfig]:
    return _with_legal_names(load_file(path, ProcessesConfig, LITHOS, warn=warn))


def parse_processes(text: bytes, file: str, *, warn: Warn | None = None) -> Document[ProcessesConfig]:
    return _with_legal_names(load(text, file, ProcessesConfig, LITHOS, warn=warn))


def _with_legal_names(document: Document[ProcessesConfig]) -> Document[ProcessesConfig]:
    problems = [document.problem(path, text) for path, text in name_problems(document.value)]
    if problems:
        raise ConfigError(problems)
    return document


def read_container(image: Path, config: str, *, warn: Warn | None = None) -> Document[ContainerConfig]:
    """A container config in an image directory. No symbolic link and no `..` leads out of the image."""
    try:
        text = read_inside(image, config, LITHOS.bytes_max + 1)
    except OSError as error:
        what = f"cannot read this file of the image {image}: {error.strerror}; check the entry's `config`"
        raise ConfigError([Problem(Position(config, 1, 1), what, "Decode Error")]) from error
    return parse_container(text, config, warn=warn)


def load_container_file(path: Path, *, warn: Warn | None = None) -> Document[ContainerConfig]:
    """A container config outside of any image."""
    return load_file(path, ContainerConfig, LITHOS, warn=warn)


def parse_container(text: bytes, file: str, *, warn: Warn | None = None) -> Document[ContainerConfig]:
    return load(text, file, ContainerConfig, LITHOS, warn=warn)
