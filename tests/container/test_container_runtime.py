"""Stories of real containers: what comes in, what goes out, and what is told when it fails."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import msgspec
import pytest
from real_containers import Containers, Screen, commands_below, wait_for

from manor.container import bundle
from manor.container.console import ConsoleSocket
from manor.container.descriptors import closed_gaps, closed_pipe
from manor.container.init import init_arguments
from manor.container.runtime import Runtime, RuntimeBinary, RuntimeFailed
from manor.container.tmpfs_modes import set_tmpfs_modes
from manor.kernel import cgroups, pidfds, process

PYTHON = "/usr/bin/python3"
TELL_DESCRIPTORS = """
import json, os
open_ones = {}
for fd in range(100):
    try: open_ones[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError: pass
print(json.dumps(open_ones))
"""


def test_a_container_is_our_child_and_its_exit_code_is_ours_to_collect(containers: Containers) -> None:
    running = containers.start(["/bin/sh", "-c", "echo here; exit 7"])
    assert running.pid in process.children() or pidfds.wait_readable(running.pidfd, 0)
    assert running.ended() == 7
    assert running.output == "here\n"


def test_a_signal_reaches_the_main_process_and_its_number_comes_back(containers: Containers) -> None:
    running = containers.start(["/bin/sh", "-c", "echo ready; exec sleep 60"])
    wait_for(lambda: running.output == "ready\n")
    running.send(signal.SIGTERM)
    assert running.ended() == 128 + signal.SIGTERM


def test_inside_are_exactly_the_descriptors_that_were_given(containers: Containers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        fds = {3: one.fileno(), 9: other.fileno()}
        assert closed_gaps(fds) == [4, 5, 6, 7, 8]
        code, output = containers.run([PYTHON, "-c", TELL_DESCRIPTORS], fds=fds)
        assert code == 0
        found = msgspec.json.decode(output)
        assert sorted(map(int, found)) == [0, 1, 2, 3, 9]
        assert found["3"] == f"socket:[{os.fstat(one.fileno()).st_ino}]"
        assert found["9"] == f"socket:[{os.fstat(other.fileno()).st_ino}]"


def test_descriptors_may_change_places_on_the_way(containers: Containers, tmp_path: Path) -> None:
    first, second = os.open(tmp_path, os.O_RDONLY), os.open("/usr", os.O_RDONLY)
    swapped = {first: second, second: first}
    try:
        code, output = containers.run(["/bin/sh", "-c", "ls -l /proc/self/fd"], fds=swapped)
    finally:
        os.close(first)
        os.close(second)
    assert code == 0
    assert f"{first} -> /usr" in output


def test_the_environment_is_the_bundles_and_home(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    code, output = containers.run(
        ["/usr/bin/env"], env=("A=yes", "LISTEN_PID=9", "HOME=/"), init_options=init_arguments(pid_env=["LISTEN_PID"])
    )
    assert code == 0
    variables = dict(line.split("=", 1) for line in output.splitlines())
    assert variables.pop("LISTEN_PID") not in {"", "9", str(os.getpid())}
    assert variables == {"A": "yes", "HOME": "/"}


def test_pid_variables_hold_the_main_processs_own_pid(containers: Containers) -> None:
    options = init_arguments(pid_env=["LISTEN_PID", "ME"])
    code, output = containers.run(["/bin/sh", "-c", "echo $$ $LISTEN_PID $ME"], init_options=options)
    assert code == 0
    assert len(set(output.split())) == 1


def test_stdin_is_an_empty_stream(containers: Containers) -> None:
    assert containers.run(["/bin/sh", "-c", "cat; echo end"]) == (0, "end\n")


def test_owner_and_mode_of_outputs_are_put_back(containers: Containers) -> None:
    null_before = os.stat("/dev/null")
    running = containers.start(["/bin/sh", "-c", "id -u"], uid=1000)
    assert running.ended() == 0
    assert running.output == "1000\n"
    now = os.stat(running.output_file)
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (os.geteuid(), os.getegid(), 0o640)
    null_now = os.stat("/dev/null")
    assert (null_now.st_uid, null_now.st_mode) == (null_before.st_uid, null_before.st_mode)


def test_tmpfs_modes_are_corrected_before_the_program_begins(containers: Containers) -> None:
    mount = bundle.Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "mode=1777", "size=1m"))
    code, output = containers.run(
        ["/bin/sh", "-c", "stat -c %a /tmp && touch /tmp/x && echo written"],
        mounts=[mount],
        uid=1000,
        before_start=lambda pid: set_tmpfs_modes(pid, [("/tmp", 0o1777)]),
    )
    assert (code, output) == (0, "1777\nwritten\n")


def test_a_failed_start_tells_the_runtimes_last_message_in_one_line_and_leaves_nothing(
    containers: Containers, tmp_path: Path
) -> None:
    config = containers.config(["/bin/true"], linux={"seccomp": {"defaultAction": "SCMP_ACT_NONSENSE"}})
    bundle.write_bundle(tmp_path / "bad", config)
    null = os.open("/dev/null", os.O_RDWR)
    empty = closed_pipe()
    with pytest.raises(RuntimeFailed, match=r"^`runc run` of shop\+bad failed: .*SCMP_ACT_NONSENSE") as caught:
        containers.runtime.run_detached(
            "shop+bad",
            tmp_path / "bad",
            pid_file=tmp_path / "pid",
            log=tmp_path / "log",
            stdin=empty,
            stdout=null,
            stderr=null,
        )
    os.close(null)
    os.close(empty)
    assert "\n" not in str(caught.value)
    assert containers.runtime.state("shop+bad") is None
    assert not (tmp_path / "oci" / "shop+bad").exists()


def test_the_runtime_knows_its_containers_until_they_are_deleted(containers: Containers) -> None:
    running = containers.start(["/bin/sleep", "60"])
    known = containers.runtime.state(running.id)
    assert (known.id, known.status, known.pid) == (running.id, "running", running.pid)
    assert [one.id for one in containers.runtime.list()] == [running.id]

    containers.runtime.kill(running.id, signal.SIGKILL)
    assert running.ended() == -signal.SIGKILL
    assert containers.runtime.state(running.id).status == "stopped"

    containers.runtime.delete(running.id)
    assert containers.runtime.state(running.id) is None
    containers.runtime.delete(running.id)  # once more does no harm


def test_deleting_by_force_ends_a_running_container_and_its_cgroup(containers: Containers) -> None:
    running = containers.start(["/bin/sleep", "60"])
    group = cgroups.groups_of(running.pid)["pids"]
    assert group.startswith(containers.cgroup + "/")
    containers.runtime.delete(running.id)
    assert running.ended() == -signal.SIGKILL
    assert not any((hierarchy / group[1:]).exists() for hierarchy in cgroups.layout().hierarchies)


def test_what_the_runtime_says_to_a_question_is_told_without_its_decoration(containers: Containers) -> None:
    with pytest.raises(RuntimeFailed, match=r"^`\w+ start` of nobody failed: .*(not exist|No such file)[^\"]*$"):
        containers.runtime.start("nobody")


def test_a_program_that_is_not_there_is_told_once(containers: Containers) -> None:
    """Without manor-init it is the runtime that executes, and that complains."""
    config = containers.config([])
    alone = msgspec.structs.replace(config.process, args=("/no/such",))
    with pytest.raises(RuntimeFailed) as caught:
        containers.start_config(msgspec.structs.replace(config, process=alone))
    assert str(caught.value).count("failed") == 1
    assert "/no/such" in str(caught.value)


def test_a_name_that_is_taken_is_refused_and_its_container_goes_on(containers: Containers, tmp_path: Path) -> None:
    running = containers.start(["/bin/sleep", "60"])
    with pytest.raises(RuntimeFailed, match="there is a container of this name; delete it first"):
        containers.runtime.run_detached(
            running.id, tmp_path, pid_file=tmp_path / "p", log=tmp_path / "l", stdin=0, stdout=1, stderr=2
        )
    assert not pidfds.wait_readable(running.pidfd, 0)


def test_a_runtime_that_has_vanished_is_told_with_its_path(tmp_path: Path) -> None:
    runtime = Runtime(RuntimeBinary(Path("/no/runc"), "runc", "1"), tmp_path / "oci")
    with pytest.raises(RuntimeFailed, match=r"^`runc run` of box failed: /no/runc: No such file or directory$"):
        runtime.run_detached(
            "box", tmp_path, pid_file=tmp_path / "p", log=tmp_path / "l", stdin=None, stdout=None, stderr=None
        )


def test_a_process_is_put_into_a_pausing_container_and_replaced_there(containers: Containers, tmp_path: Path) -> None:
    tmpfs = bundle.Mount(destination="/tmp", type="tmpfs", source="tmpfs")
    running = containers.start([], init_options=init_arguments(pause=True), mounts=[tmpfs])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        first, out = put_in(containers, running.id, tmp_path / "1", "echo $$ $LISTEN_PID; echo kept > /tmp/x; exit 3")
        assert os.waitstatus_to_exitcode(first) == 3
        own, listen_pid = out.split()
        assert own == listen_pid
        second, out = put_in(
            containers, running.id, tmp_path / "2", "cat /tmp/x; ls /proc/self/fd", fds={5: listening.fileno()}
        )
    assert os.waitstatus_to_exitcode(second) == 0
    assert out.split() == ["kept", "0", "1", "2", "3", "5"]  # 3 is the directory that ls reads
    assert process.children(running.pid) == []
    running.send(signal.SIGTERM)
    running.send(signal.SIGKILL)
    assert running.ended() == -signal.SIGKILL


def put_in(
    containers: Containers, id: str, place: Path, script: str, fds: dict[int, int] | None = None
) -> tuple[int, str]:
    place.mkdir()
    fds = fds or {}
    options = init_arguments(pid_env=["LISTEN_PID"], close=closed_gaps(fds), execute_in_place=True)
    bundle.write_process(
        place / "process.json",
        bundle.Process(
            args=("/dev/.init", *options, "/bin/sh", "-c", script),
            cwd="/",
            user=bundle.User(uid=0, gid=0),
            env=("PATH=/usr/bin",),
        ),
    )
    out = os.open(place / "output", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    empty = closed_pipe()
    pid = containers.runtime.exec_detached(
        id, place / "process.json", pid_file=place / "pid", fds=fds, stdin=empty, stdout=out, stderr=out
    )
    pidfd = pidfds.open_pidfd(pid)
    assert pidfds.wait_readable(pidfd, 30)
    status = pidfds.collect(pidfd)
    for fd in (out, empty, pidfd):
        os.close(fd)
    assert status is not None
    return status, (place / "output").read_text()


def test_an_interactive_shell_on_a_terminal_of_its_own_has_job_control(containers: Containers) -> None:
    with ConsoleSocket(Path("/tmp") / f"manor-console-{os.getpid()}") as console:
        running = containers.start(["/bin/bash", "--norc", "-i"], terminal=True, console_socket=console.path)
        terminal = console.receive()
    screen = Screen(terminal)
    wait_for(lambda: screen.shown.endswith(b"# "))  # what is typed before the prompt would be shown twice
    os.write(terminal, b"sleep 300\n")
    wait_for(lambda: "sleep" in commands_below(running.pid))
    os.write(terminal, b"\x1a")  # Ctrl-Z
    wait_for(lambda: b"Stopped" in screen.shown and screen.shown.endswith(b"# "))
    os.write(terminal, b"fg\n")
    wait_for(lambda: screen.shown.endswith(b"sleep 300\r\n"))  # `fg` names what goes on
    os.write(terminal, b"\x03")  # Ctrl-C
    wait_for(lambda: "sleep" not in commands_below(running.pid) and screen.shown.endswith(b"# "))
    os.write(terminal, b"exit 5\n")
    assert running.ended() == 5
    screen.close()
    assert b"no job control" not in screen.shown


def test_ctrl_c_on_a_terminal_ends_the_program_and_not_the_init(containers: Containers) -> None:
    with ConsoleSocket(Path("/tmp") / f"manor-console-{os.getpid()}") as console:
        running = containers.start(
            ["/bin/sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 1; done"],
            terminal=True,
            console_socket=console.path,
        )
        terminal = console.receive()
    screen = Screen(terminal)
    wait_for(lambda: b"ready" in screen.shown)
    os.write(terminal, b"\x03")
    assert running.ended() == 4
    screen.close()
    assert screen.shown.count(b"caught") == 1


def test_a_runtime_that_hangs_is_killed_and_the_start_has_failed(tmp_path: Path) -> None:
    hanging = tmp_path / "runc"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    runtime = Runtime(RuntimeBinary(hanging, "runc", "0"), tmp_path / "oci")
    empty = closed_pipe()
    with pytest.raises(RuntimeFailed, match="`runc run` of box failed: no end after 0 s, so it was killed"):
        runtime.run_detached(
            "box",
            tmp_path,
            pid_file=tmp_path / "pid",
            log=tmp_path / "log",
            stdin=empty,
            stdout=empty,
            stderr=empty,
            timeout_s=0.2,
        )
    os.close(empty)
    assert not [pid for pid in process.children() if "sleep" in commands_below(pid)]


def test_the_runtime_gets_a_path_and_nothing_else_and_ignores_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    curious = tmp_path / "runc"
    curious.write_text(
        f"#!/bin/sh\n/usr/bin/env > {tmp_path}/env\ngrep SigIgn /proc/self/status > {tmp_path}/ignored\n"
        f"echo 1 > {tmp_path}/pid\n"
    )
    curious.chmod(0o755)
    empty = closed_pipe()
    runtime = Runtime(RuntimeBinary(curious, "runc", "0"), tmp_path / "oci")
    runtime.run_detached(
        "box", tmp_path, pid_file=tmp_path / "pid", log=tmp_path / "log", stdin=empty, stdout=empty, stderr=empty
    )
    os.close(empty)
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH"}  # the shell adds those
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    ignored = int((tmp_path / "ignored").read_text().split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1


def test_crun_without_cgroups_is_told_so_and_runc_is_not() -> None:
    crun = Runtime(RuntimeBinary(Path("/usr/bin/crun"), "crun", "1.8"), Path("/x"), cgroup_manager="disabled")
    runc = Runtime(RuntimeBinary(Path("/usr/sbin/runc"), "runc", "1.1"), Path("/x"), cgroup_manager="disabled")
    assert "--cgroup-manager=disabled" in crun._common(Path("/log"))
    assert not [word for word in runc._common(Path("/log")) if "cgroup" in str(word)]
