"""`verwalter --check`: read every configuration, load every scheduler, print what is wrong, change nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError
from manor.config.loader import ConfigError
from manor.verwalter.metadata import read_tree
from manor.verwalter.render.checking import template_problems
from manor.verwalter.render.limits import read_limits
from manor.verwalter.settings import read_settings
from manor.verwalter.worker.engines import SchedulerLoadFailed, load

SETTINGS_BAD: Final = 3
SCHEDULER_BAD: Final = 4
FILES_BAD: Final = 5


def check(config_dir: Path, settings_file: Path) -> int:
    """The exit status; the most fundamental trouble decides it."""
    groups = (
        (SETTINGS_BAD, [*settings_problems(settings_file), *sandbox_problems(config_dir)]),
        (SCHEDULER_BAD, list(scheduler_problems(config_dir))),
        (FILES_BAD, [*tree_problems(config_dir), *template_problems(config_dir)]),
    )
    for _, problems in groups:
        for problem in problems:
            print(problem, file=sys.stderr)
    return next((status for status, problems in groups if problems), 0)


def settings_problems(file: Path) -> Iterator[str]:
    try:
        read_settings(file, must_exist=False)
    except ConfigError as error:
        yield from str(error).strip().splitlines()


def sandbox_problems(config_dir: Path) -> Iterator[str]:
    try:
        read_limits(config_dir / "sandbox")
    except ManorError as error:
        yield from str(error).strip().splitlines()


def scheduler_problems(config_dir: Path) -> Iterator[str]:
    found = sorted(path for path in (config_dir / "scheduler").glob("*") if path.is_dir())
    if not found:
        yield f"{config_dir / 'scheduler'}:1:1: no scheduler; a directory `v1` with `roles.yaml` would be right"
    for directory in found:
        try:
            load(directory)
        except SchedulerLoadFailed as error:
            yield from str(error).splitlines()


def tree_problems(config_dir: Path) -> Iterator[str]:
    for name in ("runtime", "machine"):
        for trouble in read_tree(config_dir / name).troubles:
            yield f"{config_dir / name / trouble.path}:1:1: {trouble.kind}: {trouble.message}"
