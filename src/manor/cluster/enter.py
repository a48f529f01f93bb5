"""Run a command inside a node: `python -m manor.cluster.enter --cluster DIRECTORY [--detach LOG] NODE COMMAND...`

Also what `manor push --rsh` calls in place of ssh: a `-l USER` before the node's name is accepted and ignored.
The command is in the node's cgroup and namespaces, has a clean environment, and its exit status is passed on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from manor.cluster import node
from manor.cluster.record import ClusterRecord, read_record
from manor.config.errors import ManorError
from manor.kernel import cgroups, namespaces, pidfds

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ALL = (
    namespaces.NEWNS
    | namespaces.NEWUTS
    | namespaces.NEWIPC
    | namespaces.NEWNET
    | namespaces.NEWCGROUP
    | namespaces.NEWPID
)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    directory, log = Path("."), None
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option == "--cluster":
            directory = Path(arguments.pop(0))
        elif option == "--detach":
            log = arguments.pop(0)
        elif option == "-l":
            arguments.pop(0)
        else:
            print(f"unknown option `{option}`; known are --cluster, --detach, -l", file=sys.stderr)
            return 2
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    name, command = arguments[0], arguments[1:]
    try:
        join(read_record(directory), name)
    except (ManorError, OSError) as error:
        print(f"cannot enter {name}: {error}", file=sys.stderr)
        return 255
    return run(command) if log is None else start(command, log)


def join(record: ClusterRecord, name: str) -> None:
    """Make this process one of the node's: its children will be born there."""
    running = record.running.get(name)
    if running is None or not node.is_alive(running):
        raise ManorError(f"node {name} does not run")
    cgroups.join(record.nodes[name].cgroup)
    pidfd = pidfds.open_pidfd(running.pid)
    namespaces.enter(pidfd, ALL)
    os.close(pidfd)
    os.chdir("/")


def environment() -> dict[str, str]:
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}


def run(command: Sequence[str]) -> int:
    child = os.fork()
    if child == 0:
        execute(command)
    for number in FORWARDED:
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def start(command: Sequence[str], log: str) -> int:
    """Leave the command running as a daemon of the node, its output appended to a file of the node."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.closerange(3, 64)
            execute(command)
        os._exit(0)
    os.wait()
    return 0


def execute(command: Sequence[str]) -> None:
    try:
        os.execvpe(command[0], list(command), environment())
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
    finally:
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
