"""Asking one instance whether it is ready or well: `tcp`, `http`, `exec` and `file`. `notify` comes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from manor.container.bundle import Capabilities, Process, Rlimit, User, write_process
from manor.container.descriptors import closed_pipe
from manor.container.runtime import RuntimeFailed
from manor.kernel import pidfds
from manor.kernel.inside import stat_inside
from manor.lithos.containers.environment import environment
from manor.lithos.containers.host import Host
from manor.lithos.containers.specification import UMASK
from manor.lithos.files.probes import HttpProbe
from manor.lithos.files.record import Record
from manor.lithos.rules.settle import Instance, SettledProbe

LOOPBACK: Final = "127.0.0.1"
TCP_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
TCP_ESTABLISHED: Final = "01"
ACCEPTED_POLL_S: Final = 0.02
RESPONSE_BYTES_MAX: Final = 65536
OUTPUT_BYTES_MAX: Final = 4096  # of a probe's command, for the message


async def run_probe(
    settled: SettledProbe, instance: Instance, record: Record, host: Host, executor: Executor, *, is_health: bool
) -> str | None:
    """What failed, or None. Takes at most the probe's timeout, and a moment."""
    probe = settled.probe
    what = probe.describe()
    try:
        if probe.exec is not None:
            loop = asyncio.get_running_loop()
            failure = await loop.run_in_executor(executor, _execute, settled, instance, record, host)
            return None if failure is None else f"{what}: {failure}"
        if probe.file is not None:
            modified_within_s = settled.interval_s if is_health else None
            failure = _file_failure(record, probe.file, modified_within_s)
            return None if failure is None else f"{what}: {failure}"
        assert settled.port is not None
        async with asyncio.timeout(probe.timeout):
            if probe.http is not None:
                status = await _http_status(settled.port, probe.http)
                expected = any(status in span for span in probe.http.status)
                return None if expected else f"{what}: answered {status}"
            await _connect(settled.port)
            return None
    except TimeoutError:
        return f"{what}: no answer within {probe.timeout:g} s"
    except (OSError, ValueError) as error:
        return f"{what}: {getattr(error, 'strerror', None) or error}"


async def _connect(port: int) -> None:
    """Return when the process has accepted a connection: the kernel alone answers for a process that hangs, too."""
    _, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        own_port = writer.get_extra_info("sockname")[1]
        while _is_queued(port, own_port):  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(ACCEPTED_POLL_S)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _is_queued(port: int, remote_port: int) -> bool:
    return any(waits_to_be_accepted(table.read_text(), port, remote_port) for table in TCP_TABLES if table.exists())


def waits_to_be_accepted(table: str, port: int, remote_port: int) -> bool:
    """Is the server's end of a connection still in the queue? It then has no inode. Source: proc_pid_net(5), tcp."""
    local, remote = f":{port:04X}", f":{remote_port:04X}"
    for line in table.splitlines()[1:]:
        words = line.split()
        if words[1].endswith(local) and words[2].endswith(remote):
            return words[3] == TCP_ESTABLISHED and words[9] == "0"
    return False


async def _http_status(port: int, probe: HttpProbe) -> int:
    """The status of one GET. Raises ValueError when the answer is not HTTP."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=RESPONSE_BYTES_MAX)
    try:
        host = probe.host or f"{LOOPBACK}:{port}"
        writer.write(
            f"GET {probe.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lithos\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        return parse_status_line(await reader.readline())
    finally:
        writer.close()


def parse_status_line(line: bytes) -> int:
    """`HTTP/1.1 200 OK` -> 200. Source: RFC 9112, section 4."""
    words = line.decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not (words[1].isdecimal() and len(words[1]) == 3):
        raise ValueError("the answer is not HTTP")
    return int(words[1])


def _file_failure(record: Record, path: str, modified_within_s: float | None) -> str | None:
    try:
        found = stat_inside(f"/proc/{record.init_pid}/root", path)
    except OSError as error:
        return error.strerror
    age_s = time.time() - found.st_mtime
    if modified_within_s is not None and age_s > modified_within_s:
        return f"not modified for {age_s:.0f} s"
    return None


def _execute(settled: SettledProbe, instance: Instance, record: Record, host: Host) -> str | None:
    """Run the command inside, as the main process's user. Blocks."""
    command = settled.probe.exec
    assert command is not None
    limit = instance.container.fileno_limit
    process = Process(
        args=command,
        env=environment(instance, term="dumb"),
        cwd=instance.container.workdir,
        user=User(uid=instance.identity.uid, gid=instance.identity.gid, umask=UMASK),
        capabilities=Capabilities.same(instance.limits.kept_capabilities),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=limit, hard=limit),),
        no_new_privileges=instance.limits.no_new_privileges,
    )
    directory = host.places.bundles / record.id
    with contextlib.ExitStack() as opened:
        stdin = closed_pipe()
        opened.callback(os.close, stdin)
        # A pipe is its own bound: a command that says more than fits into it waits, and times out.
        said, output = os.pipe2(os.O_CLOEXEC)
        opened.callback(os.close, said)
        try:
            write_process(directory / "probe.json", process)
            pid = host.runtime.exec_detached(
                record.id,
                directory / "probe.json",
                pid_file=directory / "probe.pid",
                stdin=stdin,
                stdout=output,
                stderr=output,
            )
            pidfd = pidfds.open_pidfd(pid)
        except RuntimeFailed as error:
            return str(error)
        finally:
            os.close(output)
        opened.callback(os.close, pidfd)
        return _outcome(pidfd, said, settled.probe.timeout)


def _outcome(pidfd: int, said: int, timeout_s: float) -> str | None:
    if not pidfds.wait_readable(pidfd, timeout_s):
        with contextlib.suppress(ProcessLookupError):
            pidfds.send_signal(pidfd, signal.SIGKILL)
        pidfds.wait_readable(pidfd, timeout_s)
        pidfds.collect(pidfd)
        return f"still running after {timeout_s:g} s"
    status = pidfds.collect(pidfd)
    if status == 0:
        return None
    os.set_blocking(said, False)
    try:
        words = os.read(said, OUTPUT_BYTES_MAX).decode(errors="replace").split("\n")[0].strip()
    except BlockingIOError:
        words = ""
    code = "unknown status" if status is None else f"status {os.waitstatus_to_exitcode(status)}"
    return f"{code}{': ' if words else ''}{words}"
