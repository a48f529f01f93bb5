"""`verwalter-render`: render one role on this machine. Start reading here.

    variables, schedule --templates--> private files --commands of the render files--> the machine

All templates are parsed, all render files read, all results rendered and all names checked before the first command
runs: whatever is wrong with a template leaves the machine as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from manor import VERSION
from manor.config.errors import ManorError
from manor.verwalter.deployment_log import DeploymentLog, LogFile
from manor.verwalter.deployment_plan import ROLE_NAME, template_problem
from manor.verwalter.render import renderer as rendering
from manor.verwalter.render.limits import read_limits, refuse_writable
from manor.verwalter.render.renderer import Rendered, Renderer
from manor.verwalter.render.task import Task
from manor.verwalter.render.templates import Templates

DRY_RUN_DEPLOYMENT = "dry-run-dep-id-dead-beef"
COMMAND_TIMEOUT_S = 120.0
VARIABLES_BYTES_MAX = 16 << 20


class BadVariables(ManorError):
    exit_status = 3


class BadTemplateName(ManorError):
    exit_status = 4


class OtherVersion(ManorError):
    exit_status = 5


class LogFailed(ManorError):
    exit_status = 81


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be rendered."""

    role: str
    deployment: str
    template_dir: Path
    variables: dict[str, Any]
    config_dir: Path
    log_dir: Path
    dry_run: bool
    show: bool


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        job = read_job(options)
        if options.check_dir or job.dry_run:
            render_role(job, lambda text: print(text, flush=True), 1, None)
        else:
            render_and_log(job)
    except ManorError as error:
        print(f"verwalter-render: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="verwalter-render", description="Render one role on this machine.")
    parser.add_argument("variables", nargs="?", metavar="VARS_JSON", help="the variables, a JSON object")
    parser.add_argument("--vars-file", type=Path, metavar="F", help="a file with them; wins over VARS_JSON")
    parser.add_argument("--schedule", metavar="JSON", help="the schedule, for `full_schedule`")
    parser.add_argument("--schedule-file", type=Path, metavar="F")
    parser.add_argument("--config-dir", type=Path, default=Path("/etc/verwalter"), metavar="D")
    parser.add_argument("--log-dir", type=Path, default=Path("/var/log/verwalter"), metavar="D")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, do nothing")
    parser.add_argument(
        "-C", "--check", "--check-dir", dest="check_dir", type=Path, metavar="DIR",
        help="render the templates of this directory; implies --dry-run",
    )  # fmt: skip
    parser.add_argument("--show", action="store_true", help="also print rendered files")
    parser.add_argument("--version", action="version", version=VERSION)
    return parser.parse_args(argv)


def read_job(options: argparse.Namespace) -> Job:
    """Check the variables. Raises BadVariables, BadTemplateName, OtherVersion."""
    if options.vars_file is None and options.variables is None:
        raise BadVariables("no variables; give a JSON object, or --vars-file")
    variables = _read_object(options.vars_file, options.variables, "variables")
    schedule = _read_object(options.schedule_file, options.schedule or "{}", "schedule")
    variables.setdefault("full_schedule", schedule.get("data", schedule))
    needed = ["role"] if options.check_dir else ["role", "deployment_id", "verwalter_version"]
    for name in needed:
        if not isinstance(variables.get(name), str):
            raise BadVariables(f"`{name}` is missing in the variables, or not a text")
    role = variables["role"]
    if not ROLE_NAME.fullmatch(role):
        raise BadVariables(f"bad role name `{role}`")
    if options.check_dir:
        variables.setdefault("deployment_id", DRY_RUN_DEPLOYMENT)
        template_dir = options.check_dir
    else:
        if problem := template_problem(variables.get("template")):
            raise BadTemplateName(problem)
        if variables["verwalter_version"] != f"v{VERSION}":
            told = variables["verwalter_version"]
            raise OtherVersion(f"`verwalter_version` is {told}, this program is v{VERSION}; restart verwalter")
        template_dir = options.config_dir / "templates" / variables["template"]
    if not template_dir.is_dir():
        raise rendering.NoRenderer(f"{template_dir}: no such template directory")
    if "SUDO_UID" in os.environ and os.geteuid() == 0:
        refuse_writable(options.config_dir / "sandbox")
    return Job(
        role=role,
        deployment=variables["deployment_id"],
        template_dir=template_dir,
        variables=variables,
        config_dir=options.config_dir,
        log_dir=options.log_dir,
        dry_run=options.dry_run or options.check_dir is not None,
        show=options.show or options.check_dir is not None,
    )


def _read_object(file: Path | None, text: str | None, what: str) -> dict[str, Any]:
    try:
        if file is not None:
            text = file.read_bytes()[: VARIABLES_BYTES_MAX + 1].decode()
        value = json.loads(text or "")
    except OSError as error:
        raise BadVariables(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BadVariables(f"the {what} are no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadVariables(f"the {what} are no JSON object")
    return value


def render_and_log(job: Job) -> None:
    """As `render_role`, into the role's log, with marks in the index."""
    log = DeploymentLog(job.log_dir, job.deployment)
    try:
        role_log = log.continue_role(job.role)
    except OSError as error:
        raise LogFailed(f"{error.filename}: {error.strerror}") from error
    with role_log:
        try:
            render_role(job, role_log.write, role_log.descriptor, partial(_mark, log, role_log, job.role))
        except ManorError as error:
            role_log.write(f"ERROR: {error}")
            raise


def _mark(log: DeploymentLog, role_log: LogFile, role: str, name: str, file: str) -> None:
    log.mark_role(role_log, role, name, file)


def render_role(job: Job, say: Callable[[str], None], output: int, mark: Callable[[str, str], None] | None) -> None:
    """Render everything, then run the commands.

    Args:
        output: descriptor for the output of commands.
        mark: called with `ActionStart` and `ActionFinish` and the render file's name.
    """
    limits = read_limits(job.config_dir / "sandbox")
    templates = Templates(job.template_dir)
    renderers = rendering.read_renderers(job.template_dir)
    with tempfile.TemporaryDirectory(prefix="verwalter-render.") as private:
        ready: list[tuple[Renderer, dict[str, Rendered], dict[str, str]]] = []
        for one in renderers:
            rendered = rendering.render(one, templates, job.variables, Path(private))
            names = rendering.names_for(
                rendered,
                role=job.role,
                deployment=job.deployment,
                node=str(job.variables.get("node", "")),
                template_dir=job.template_dir,
            )
            rendering.check_names(one, names, job.template_dir)
            ready.append((one, rendered, names))
        for one, rendered, names in ready:
            if mark:
                mark("ActionStart", one.name)
            if job.show or mark:
                for result in rendered.values():
                    say(show(result))
            make_task = partial(
                Task, job.role, job.deployment, names, (job.template_dir / one.name).parent.absolute(), limits,
                job.dry_run, say, output, COMMAND_TIMEOUT_S,
            )  # fmt: skip
            rendering.execute(one, make_task, names)
            if mark:
                mark("ActionFinish", one.name)


def show(result: Rendered) -> str:
    """A rendered file for the log; of a secret one only its size and hash."""
    name = f'"{result.template}" -> "{result.path.name}"'
    text = result.text
    if result.is_secret:
        text = f"({len(text.encode())} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
    end = "" if text.endswith("\n") or not text else "\n"
    return f"+++ template start: {name} +++\n{text}{end}+++ template end: {name} +++"


if __name__ == "__main__":
    sys.exit(main())
