"""Which engine runs the scheduler of a directory, and what all engines have in common.

Adding an engine: one row in `ENGINES` with a function that loads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manor.config.errors import ConfigError, ManorError

SOURCES_BYTES_MAX: Final = 32 * 1024 * 1024
LOG_BYTES_MAX: Final = 1024 * 1024

Run = Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]  # input -> schedule, log, answers


class SchedulerLoadFailed(ManorError):
    """cannot load scheduler/v1: roles.yaml:3:1: …; the scheduler that worked before goes on"""

    exit_status = 4


class SchedulerFailed(ManorError):
    """scheduler raised: … One round gives no schedule."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How schedulers of one kind are recognised and loaded. Without `load` this version cannot run them."""

    name: str
    file: str
    load: Callable[[Path], Run] | None


def _load_declaration(file: Path) -> Run:
    from manor.verwalter.scheduler.roles import load_roles  # only this engine needs it

    return load_roles(file)


ENGINES: Final = (  # the first whose file is there decides
    Engine("wasm", "scheduler.wasm", None),
    Engine("lua", "main.lua", None),
    Engine("python", "main.py", None),
    Engine("declarative", "roles.yaml", _load_declaration),
)


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A loaded scheduler. `hash` is over all files of its directory."""

    engine: str
    directory: Path
    hash: str
    warnings: tuple[str, ...]
    run: Run


def load(directory: Path) -> Scheduler:
    """Raises SchedulerLoadFailed with the reason in one line, or several for a file with several problems."""
    found = [engine for engine in ENGINES if (directory / engine.file).exists()]
    if not found:
        names = ", ".join(f"`{engine.file}`" for engine in ENGINES)
        raise SchedulerLoadFailed(f"cannot load {directory}: no scheduler here; one of {names} would be right")
    engine, others = found[0], found[1:]
    if engine.load is None:
        raise SchedulerLoadFailed(f"cannot load {directory}: `{engine.file}` is not supported yet; use `roles.yaml`")
    warnings = tuple(f"{directory}: `{other.file}` is ignored, `{engine.file}` decides" for other in others)
    try:
        return Scheduler(
            engine.name, directory, sources_hash(directory), warnings, engine.load(directory / engine.file)
        )
    except (ConfigError, OSError) as error:
        raise SchedulerLoadFailed(f"cannot load {directory}: {str(error).strip()}") from error


def sources_hash(directory: Path) -> str:
    """SHA-256 over names and contents of all files, in order. Raises OSError, SchedulerLoadFailed if too large."""
    digest, size = hashlib.sha256(), 0
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        size += len(content)
        if size > SOURCES_BYTES_MAX:
            raise SchedulerLoadFailed(f"cannot load {directory}: more than {SOURCES_BYTES_MAX // 1024**2} MiB of files")
        name = str(path.relative_to(directory)).encode(errors="surrogateescape")
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()


def checked(result: tuple[Any, Any, Any]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """What a scheduler returned, with the types it must have. Raises SchedulerFailed."""
    schedule, log, answers = result
    if schedule is None:
        raise SchedulerFailed("scheduler returned nothing")
    if not isinstance(schedule, dict):
        raise SchedulerFailed(f"scheduler returned an invalid value: {type(schedule).__name__}")
    if not isinstance(log, str):
        raise SchedulerFailed("scheduler returned an invalid log")
    answers = answers if isinstance(answers, dict) else {}
    return schedule, log[:LOG_BYTES_MAX], {str(key): value for key, value in answers.items()}
