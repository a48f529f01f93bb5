"""`verwalter-render`: render one role on this machine. Start reading here.

    variables, schedule --templates--> private files --commands of the render files--> the machine

What is wrong with variables, templates, render files or limits is found before the first command runs, and leaves the
machine as it is.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from manor import VERSION
from manor.config.errors import ManorError
from manor.verwalter.render.errors import LogFailed
from manor.verwalter.render.job import Job, read_job
from manor.verwalter.render.journal import Logged, Printed
from manor.verwalter.render.role import render_role

TERMINATED = 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an exception: private files are removed
    try:
        perform(read_job(options))
    except ManorError as error:
        print(f"verwalter-render: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def perform(job: Job) -> None:
    """Render to stdout or for good. Raises RenderFailed."""
    if job.dry_run:
        render_role(job, Printed(job.role, job.deployment, marks=job.marks))
        return
    with Logged(job.log_dir, job.role, job.deployment) as journal:
        try:
            render_role(job, journal)
        except ManorError as error:
            journal.failed(str(error))
            raise
    if journal.trouble is not None:
        raise LogFailed(f"{journal.trouble}; the role itself is rendered")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="verwalter-render", description="Render one role on this machine.")
    parser.add_argument("variables", nargs="?", metavar="VARS_JSON", help="the variables, a JSON object")
    parser.add_argument("--vars-file", type=Path, metavar="F", help="a file with them; wins over VARS_JSON")
    parser.add_argument("--schedule", metavar="JSON", help="the schedule, for `full_schedule`")
    parser.add_argument("--schedule-file", type=Path, metavar="F", help="a file with it; wins over --schedule")
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


if __name__ == "__main__":
    sys.exit(main())
