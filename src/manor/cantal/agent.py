"""cantal-agent: measure this machine, keep an hour of it, know the cluster. Start reading here."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Sequence

from manor.cantal.agent_options import AgentOptions, host_name, parse_options
from manor.config.errors import ManorError


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    if options.check_config:
        return check_config(options)
    try:
        return run(options)
    except ManorError as error:
        print(f"cantal-agent: {error}", file=sys.stderr)
        return 2


def check_config(options: AgentOptions) -> int:
    """Print every problem of the configuration directory."""
    from manor.cantal.agent_config import read_directory

    problems = read_directory(options.config_dir).problems
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def run(options: AgentOptions) -> int:
    """Raises ManorError: it could not start."""
    from manor.cantal import agent_log
    from manor.cantal.agent_process import AgentProcess
    from manor.cantal.service_manager import ServiceManager

    agent_log.configure(os.environ, options.log_format)
    try:
        name = host_name()
    except (OSError, UnicodeDecodeError) as error:
        raise ManorError(f"this machine has no usable host name: {error}") from error
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # many small files stay open between ticks
    agent = AgentProcess(options, host_name=name, manager=ServiceManager(os.environ))
    return asyncio.run(agent.run())


if __name__ == "__main__":
    sys.exit(main())
