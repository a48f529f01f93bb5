"""How a container's init ended, asked of whoever can tell: we as its parent, the kernel, or /proc."""

from __future__ import annotations

from pathlib import Path

from manor.kernel import pidfds
from manor.lithos.files.record import Record


def wait_status_nowait(pidfd: int, record: Record | None) -> int | None:
    """The wait status of a process whose pidfd is readable; None while nobody can tell.

    After a crash of the master a container's init is the child of somebody else, who may be slow to reap it. Until he
    does, the status stands in /proc; afterwards the pidfd has it (Linux 6.15).
    """
    try:
        return pidfds.reap(pidfd)
    except ChildProcessError:
        status = pidfds.exit_status(pidfd)
    if status is None and record is not None and record.init_pid is not None:
        return _zombie_status(record.init_pid, record.init_start_time)
    return status


def _zombie_status(pid: int, start_time: int | None) -> int | None:
    """Source: proc_pid_stat(5), fields 3 (state), 22 (starttime) and 52 (exit_code)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] != "Z" or int(fields[19]) != start_time:
        return None
    return int(fields[49])
