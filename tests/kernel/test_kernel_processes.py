"""Processes by pidfd and by what /proc tells of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from own_namespaces import wait_for

from manor.kernel import pidfds, process


def test_the_status_of_our_child_is_collected_once_and_known_for_ever() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "read x; exit 7"], stdin=subprocess.PIPE)
    pidfd = pidfds.open_pidfd(child.pid)
    assert not pidfds.wait_readable(pidfd, 0)
    assert pidfds.reap(pidfd) is None
    assert pidfds.exit_status(pidfd) is None
    child.communicate(b"\n")
    assert pidfds.wait_readable(pidfd, 30)
    # Popen has reaped it by now; the pidfd still tells.
    assert pidfds.exit_status(pidfd) == 7 << 8
    assert pidfds.collect(pidfd) == 7 << 8
    with pytest.raises(ChildProcessError):
        pidfds.reap(pidfd)
    os.close(pidfd)


def test_a_child_is_reaped_by_its_pidfd() -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    pidfd = pidfds.open_pidfd(pid)
    pidfds.send_signal(pidfd, signal.SIGTERM)
    assert pidfds.wait_readable(pidfd, 30)
    assert pidfds.reap(pidfd) == signal.SIGTERM
    assert pidfds.collect(pidfd) == signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        pidfds.send_signal(pidfd, signal.SIGTERM)
    os.close(pidfd)


def test_somebody_elses_child_tells_how_it_ended_when_its_parent_has_reaped_it() -> None:
    script = (
        "import subprocess as s\n"
        "child = s.Popen(['/bin/sh', '-c', 'read x; exit 3'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
        "input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None and parent.stdout is not None
    pidfd = pidfds.open_pidfd(int(parent.stdout.readline()))
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert pidfds.wait_readable(pidfd, 30)
    status = pidfds.collect(pidfd)
    assert status is not None and os.waitstatus_to_exitcode(status) == 3
    parent.communicate("\n", timeout=30)
    os.close(pidfd)


def test_a_status_nobody_collects_is_none_after_the_time_that_was_given() -> None:
    script = "import subprocess as s; c = s.Popen(['/bin/true']); print(c.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pidfd = pidfds.open_pidfd(int(parent.stdout.readline()))
    assert pidfds.wait_readable(pidfd, 30)
    assert pidfds.collect(pidfd, within_s=0.05) is None  # a zombie of somebody else
    parent.communicate("\n", timeout=30)
    os.close(pidfd)


def test_a_descriptor_is_taken_over_from_another_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
        number = listening.fileno()
    pidfd = pidfds.open_pidfd(child.pid)
    with socket.socket(fileno=pidfds.get_fd(pidfd, number)) as taken:
        assert taken.getsockname()[1] == port
        assert not os.get_inheritable(taken.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        pidfds.get_fd(pidfd, 999)
    child.communicate(timeout=30)
    os.close(pidfd)


def test_a_process_is_known_by_pid_and_start_time() -> None:
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    started = process.start_time(child.pid)
    assert started == process.start_time(child.pid) >= process.start_time(os.getpid())
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    assert abs(started / ticks_per_s - process.boottime()) < 60
    child.communicate(timeout=30)
    with pytest.raises(ProcessLookupError):
        process.start_time(child.pid)
    assert process.children(child.pid) == []


def test_a_name_with_blanks_and_brackets_does_not_confuse_the_fields() -> None:
    script = "from manor.kernel import process; process.set_name('a) R (b'); print(1, flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert process.parent(child.pid) == os.getpid()
    wait_for(lambda: process.state(child.pid) == "S")
    child.communicate(b"\n", timeout=30)
    with pytest.raises(ValueError, match="is longer than 15 bytes"):
        process.set_name("sixteen-bytes-ab")


def test_orphans_come_to_the_subreaper() -> None:
    script = (
        "import os, subprocess\n"
        "from manor.kernel import process\n"
        "process.set_child_subreaper()\n"
        "subprocess.run(['/bin/sh', '-c', 'sleep 60 &'])\n"
        "(orphan,) = process.children()\n"
        "assert list(process.descendants()) == [orphan]\n"
        "os.kill(orphan, 9)\n"
        "assert os.waitpid(orphan, 0)[1] == 9\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_child_with_a_parent_death_signal_ends_with_its_parent() -> None:
    script = (
        "import os, signal\n"
        "from manor.kernel import process\n"
        "ready, told = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    process.set_parent_death_signal(signal.SIGKILL)\n"
        "    os.write(told, b'x')\n"
        "    signal.pause()\n"
        "os.read(ready, 1)\n"
        "print(child, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pidfd = pidfds.open_pidfd(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate(timeout=30)
    assert pidfds.wait_readable(pidfd, 30)
    os.close(pidfd)


def test_the_boot_has_a_name_and_a_clock_that_only_goes_forward() -> None:
    assert process.boot_id() == process.boot_id()
    assert len(process.boot_id()) == 36
    before = process.boottime()
    assert process.boottime() >= before >= time.monotonic() - 1
