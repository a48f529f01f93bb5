"""What is to be rendered: options and variables, checked before anything else happens."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manor import VERSION
from manor.config.errors import ConfigError
from manor.verwalter.deployment_plan import ROLE_NAME, template_problem
from manor.verwalter.render.errors import BadInput, BadTemplate, BadTemplateName, OtherVersion
from manor.verwalter.render.limits import Limits, read_limits, refuse_writable
from manor.verwalter.settings import read_settings

DRY_RUN_DEPLOYMENT: Final = "dry-run-dep-id-dead-beef"
INPUT_BYTES_MAX: Final = 64 << 20  # twice the largest schedule that a daemon takes by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One role with everything its rendering depends on."""

    role: str
    deployment: str
    variables: dict[str, Any]
    template_dir: Path  # absolute
    roots: tuple[Path, ...]  # links among the templates must not lead out of these
    limits: Limits
    log_dir: Path
    command_timeout_s: float
    dry_run: bool
    show: bool  # print rendered files
    marks: bool  # of a dry run: also print what the log and its index would say

    @property
    def removed(self) -> bool:
        """The role left this node: the `*.remove.yaml` files are meant."""
        return self.variables.get("removed") is True


def read_job(options: argparse.Namespace) -> Job:
    """Raises BadInput, BadTemplateName, OtherVersion, BadTemplate."""
    variables = _variables(options)
    checking = options.check_dir is not None
    for name in ["role"] if checking else ["role", "deployment_id", "verwalter_version"]:
        if not isinstance(variables.get(name), str):
            raise BadInput(f"`{name}` is missing in the variables, or not a text")
    if not ROLE_NAME.fullmatch(variables["role"]):
        raise BadInput(f"bad role name `{variables['role']}`")
    if checking:
        variables.setdefault("deployment_id", DRY_RUN_DEPLOYMENT)
        template_dir = options.check_dir.absolute()
        roots: tuple[Path, ...] = (template_dir,)
    else:
        template_dir = _template_dir(options.config_dir.absolute(), variables)
        # Delivered directories are links into the store beside `templates`.
        roots = (options.config_dir / "templates", options.config_dir / ".store")
    if not template_dir.is_dir():
        raise BadTemplate(f"{template_dir}: no such template directory")
    if "SUDO_UID" in os.environ and os.geteuid() == 0:
        refuse_writable(options.config_dir)
    return Job(
        role=variables["role"],
        deployment=variables["deployment_id"],
        variables=variables,
        template_dir=template_dir,
        roots=roots,
        limits=read_limits(options.config_dir / "sandbox"),
        log_dir=options.log_dir,
        command_timeout_s=_command_timeout_s(options.config_dir),
        dry_run=options.dry_run or checking,
        show=options.show or checking,
        marks=not checking,
    )


def _variables(options: argparse.Namespace) -> dict[str, Any]:
    if options.vars_file is None and options.variables is None:
        raise BadInput("no variables; give a JSON object, or --vars-file")
    variables = _read_object(options.vars_file, options.variables, "variables")
    if options.schedule_file is not None or options.schedule is not None:
        schedule = _read_object(options.schedule_file, options.schedule, "schedule")
        variables["full_schedule"] = schedule["data"] if "hash" in schedule and "data" in schedule else schedule
    variables.setdefault("full_schedule", {})
    return variables


def _template_dir(config_dir: Path, variables: dict[str, Any]) -> Path:
    if problem := template_problem(variables.get("template")):
        raise BadTemplateName(problem)
    told = variables["verwalter_version"]
    if told != f"v{VERSION}":
        raise OtherVersion(f"`verwalter_version` is {told}, this program is v{VERSION}; restart verwalter")
    return config_dir / "templates" / str(variables["template"])


def _command_timeout_s(config_dir: Path) -> float:
    try:
        return read_settings(config_dir / "verwalter.yaml", must_exist=False).render.command_timeout
    except ConfigError as error:
        raise BadInput(str(error)) from error


def _read_object(file: Path | None, text: str | None, what: str) -> dict[str, Any]:
    try:
        if file is not None:
            with file.open("rb") as opened:
                content = opened.read(INPUT_BYTES_MAX + 1)
            if len(content) > INPUT_BYTES_MAX:
                raise BadInput(f"{file}: more than {INPUT_BYTES_MAX >> 20} MiB")
            text = content.decode()
        value = json.loads(text or "")
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file or 'command line'}: the {what} are no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{file or 'command line'}: the {what} are no JSON object")
    return value
