"""manor-init as process 1 of a pid namespace, without a runtime around it; and how it is called."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from real_containers import commands_below, wait_for

from manor.container.init import InitNotFound, find_init, init_arguments, is_own_init
from manor.kernel import pidfds, process

INIT = str(find_init())
# The new process 1 is a child of unshare, which passes its exit status on and takes it along when killed.
IN_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Started:
    """manor-init in a new pid namespace, with its output in a file."""

    def __init__(self, directory: Path, arguments: Sequence[str], **options: object) -> None:
        self.output_file = directory / "output"
        self._out = os.open(self.output_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.outer = subprocess.Popen(
            [*IN_PID_NAMESPACE, INIT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
            **options,  # type: ignore[call-overload]
        )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def pid(self) -> int:
        """Of manor-init, once it has taken its name: from then on no signal is lost."""
        wait_for(lambda: any(name_of(child) == "manor-init" for child in process.children(self.outer.pid)))
        return process.children(self.outer.pid)[0]

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> int:
        return self.outer.wait(30)

    def close(self) -> None:
        self.outer.kill()
        self.outer.wait(30)
        os.close(self._out)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Started]]:
    every: list[Started] = []
    yield every
    for one in every:
        one.close()


def start(started: list[Started], directory: Path, *arguments: str, **options: object) -> Started:
    started.append(Started(directory, arguments, **options))
    return started[-1]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_status_is_the_main_processs(started: list[Started], tmp_path: Path, code: int) -> None:
    assert start(started, tmp_path, "--", "/bin/sh", "-c", f"exit {code}").ended() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_that_ends_the_main_process_is_told_as_128_and_its_number(
    started: list[Started], tmp_path: Path, number: signal.Signals
) -> None:
    assert start(started, tmp_path, "--", "/bin/sh", "-c", f"kill -{number.value} $$").ended() == 128 + number


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGWINCH,
        signal.SIGRTMIN + 3,
    ],
)
def test_every_signal_is_passed_on(started: list[Started], tmp_path: Path, number: int) -> None:
    script = f"trap 'echo got; exit 9' {int(number)}; echo ready; while :; do read -t 0.02 x < /dev/zero; done"
    one = start(started, tmp_path, "--", "/bin/bash", "-c", script)
    wait_for(lambda: "ready" in one.output)
    one.send(number)
    assert one.ended() == 9
    assert one.output == "ready\ngot\n"


SIGNALS_ITS_GROUP = """
import os, signal, sys
seen = []
def on_term(*_):
    seen.append("got")
    print(len(seen), flush=True)
    if len(seen) == 1:
        os.kill(0, signal.SIGTERM)
signal.signal(signal.SIGTERM, on_term)
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(len(seen)))
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_a_program_that_signals_its_own_group_does_not_get_it_back_from_its_init(
    started: list[Started], tmp_path: Path
) -> None:
    one = start(started, tmp_path, "--", "/usr/bin/python3", "-c", SIGNALS_ITS_GROUP)
    wait_for(lambda: "ready" in one.output)
    one.send(signal.SIGTERM)
    wait_for(lambda: "2" in one.output)
    one.send(signal.SIGUSR1)
    assert one.ended() == 2  # once from outside, once from itself


def test_a_stopped_main_process_goes_on_when_told(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, "--", "/bin/sleep", "60")
    wait_for(lambda: "sleep" in commands_below(one.pid))
    main = process.children(one.pid)[0]
    one.send(signal.SIGTSTP)
    wait_for(lambda: process.state(main) == "T")
    one.send(signal.SIGCONT)
    wait_for(lambda: process.state(main) == "S")
    one.send(signal.SIGTERM)
    assert one.ended() == 128 + signal.SIGTERM


def test_a_program_that_cannot_be_executed_is_told_in_one_line(started: list[Started], tmp_path: Path) -> None:
    missing = start(started, tmp_path, "--", "/no/such/program")
    assert missing.ended() == 127
    assert missing.output == "manor-init: /no/such/program: No such file or directory\n"
    text = tmp_path / "text"
    text.write_text("no program\n")
    refused = start(started, tmp_path, "--", str(text))
    assert refused.ended() == 126
    assert refused.output == f"manor-init: {text}: Permission denied\n"


def test_a_name_without_slash_is_looked_for_in_the_bundles_path(started: list[Started], tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "greet").write_text("#!/bin/sh\necho hello\n")
    environment = {"PATH": f"/usr/bin:{own}"}
    assert start(started, tmp_path, "--", "greet", env=environment).ended() == 126  # there, but not executable
    (own / "greet").chmod(0o755)
    one = start(started, tmp_path, "--", "greet", env=environment)
    assert (one.ended(), one.output) == (0, "hello\n")
    assert start(started, tmp_path, "--", "greet", env={"PATH": "/usr/bin"}).ended() == 127


def test_orphans_are_reaped(started: list[Started], tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done; echo made; exec sleep 60"
    one = start(started, tmp_path, "--", "/bin/sh", "-c", script)
    wait_for(lambda: "made" in one.output)
    wait_for(lambda: len(process.children(one.pid)) == 1)
    assert not [child for child in process.children(one.pid) if process.state(child) == "Z"]


def test_the_end_of_the_main_process_ends_all_others(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, "--", "/bin/sh", "-c", "sleep 60 & echo $! ; exit 5")
    assert one.ended() == 5


def test_wait_all_ends_with_the_last_process_and_the_main_processs_status(
    started: list[Started], tmp_path: Path
) -> None:
    script = "(read x < go; echo last) & echo first; exit 6"
    os.mkfifo(tmp_path / "go")
    one = start(started, tmp_path, "--wait-all", "--", "/bin/sh", "-c", script, cwd=tmp_path)
    wait_for(lambda: len(process.children(one.pid)) == 1 and "first" in one.output)
    assert one.outer.poll() is None
    (tmp_path / "go").write_text("\n")
    assert one.ended() == 6
    assert one.output == "first\nlast\n"


def test_wait_all_passes_signals_to_every_process(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, "--wait-all", "--", "/bin/sh", "-c", "sleep 61 & sleep 62 & exec sleep 63")
    wait_for(lambda: commands_below(one.pid).count("sleep") == 3)
    one.send(signal.SIGTERM)
    assert one.ended() == 128 + signal.SIGTERM


def test_pausing_it_reaps_and_ends_by_kill_only(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, "--pause")
    enter = ["nsenter", f"--pid=/proc/{one.pid}/ns/pid", "/bin/sh", "-c", "(sleep 0.05 &); exit 0"]
    subprocess.run(enter, check=True, timeout=30)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        one.send(number)
    wait_for(lambda: process.children(one.pid) == [])
    assert one.outer.poll() is None
    pidfd = pidfds.open_pidfd(one.pid)
    one.send(signal.SIGKILL)
    one.ended()
    assert pidfds.collect(pidfd) == signal.SIGKILL
    os.close(pidfd)


def test_it_dies_with_its_parent_and_everything_with_it(started: list[Started], tmp_path: Path) -> None:
    """Its parent here is unshare, which without --kill-child leaves it alone."""
    process.set_child_subreaper()
    plain = [word for word in IN_PID_NAMESPACE if word != "--kill-child"]
    outer = subprocess.Popen([*plain, INIT, "--die-with-parent", "--", "/bin/sleep", "60"], stdin=subprocess.DEVNULL)
    wait_for(lambda: "sleep" in commands_below(outer.pid))
    (init,) = process.children(outer.pid)
    pidfd = pidfds.open_pidfd(init)
    outer.kill()
    outer.wait(30)
    assert pidfds.wait_readable(pidfd, 30)
    assert pidfds.collect(pidfd) == signal.SIGKILL
    os.close(pidfd)


def test_it_keeps_nothing_but_stdio_open_and_takes_its_name(started: list[Started], tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    one = start(started, tmp_path, "--", "/bin/sleep", "60", pass_fds=(read_end, write_end))
    wait_for(lambda: "sleep" in commands_below(one.pid))
    wait_for(lambda: sorted(os.listdir(f"/proc/{one.pid}/fd")) == ["0", "1", "2"])
    assert {str(read_end), str(write_end)} <= set(os.listdir(f"/proc/{process.children(one.pid)[0]}/fd"))
    assert name_of(one.pid) == "manor-init"
    os.close(read_end)
    os.close(write_end)


def test_descriptors_are_closed_and_made_non_blocking_as_told(started: list[Started], tmp_path: Path) -> None:
    first, second = os.pipe()
    options = init_arguments(close=[first], non_block=[second])
    script = f"ls /proc/self/fd; grep flags /proc/self/fdinfo/{second}"
    one = start(started, tmp_path, *options, "/bin/sh", "-c", script, pass_fds=(first, second))
    assert one.ended() == 0
    *listed, _flags, flags = one.output.split()
    assert str(second) in listed and str(first) not in listed
    assert int(flags, 8) & os.O_NONBLOCK
    os.close(first)
    os.close(second)


def test_the_main_process_begins_with_no_signal_blocked_or_ignored(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, "--", "/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    assert one.ended() == 0
    of_the_c_library = 0b11 << 31  # the two real-time signals it keeps for itself can be inherited as ignored
    assert [int(word, 16) & ~of_the_c_library for word in one.output.split()[1::2]] == [0, 0]


def test_pid_variables_replace_those_of_the_environment(started: list[Started], tmp_path: Path) -> None:
    options = init_arguments(pid_env=["ME", "LISTEN_PID"])
    script = "echo $$ $ME $LISTEN_PID; env | grep -c '^ME='"
    one = start(started, tmp_path, *options, "/bin/sh", "-c", script, env={"ME": "7", "MEMORY": "1", "PATH": "/bin"})
    assert one.ended() == 0
    own, me, listen_pid, count = one.output.split()
    assert own == me == listen_pid and count == "1"


def test_in_place_it_is_the_launcher_and_no_init(tmp_path: Path) -> None:
    options = init_arguments(pid_env=["ME"], execute_in_place=True)
    launched = subprocess.Popen([INIT, *options, "/bin/sh", "-c", "echo $$ $ME"], stdout=subprocess.PIPE, text=True)
    output, _ = launched.communicate(timeout=30)
    assert output.split() == [str(launched.pid)] * 2


def test_the_main_process_becomes_the_user_and_groups_that_are_named(started: list[Started], tmp_path: Path) -> None:
    one = start(started, tmp_path, *init_arguments(user=(1000, 1001, 50, 60)), "/bin/sh", "-c", "id -u; id -g; id -G")
    assert one.ended() == 0
    assert one.output.split() == ["1000", "1001", "1001", "50", "60"]


def test_in_one_more_user_namespace_only_one_user_is_known(started: list[Started], tmp_path: Path) -> None:
    """User 1 for itself is user 0 of the container; groups keep their numbers."""
    script = "id -u; id -g; cat /proc/self/uid_map; touch file; stat -c %u file"
    one = start(started, tmp_path, *init_arguments(user_namespace=(1, 0)), "/bin/sh", "-c", script, cwd=tmp_path)
    assert one.ended() == 0, one.output
    assert one.output.split() == ["1", "0", "1", "0", "1", "1"]
    assert (tmp_path / "file").stat().st_uid == 0


def test_the_user_namespace_has_the_groups_that_were_asked_for(started: list[Started], tmp_path: Path) -> None:
    options = init_arguments(user_namespace=(1, 0), user=(1, 7, 50))
    one = start(started, tmp_path, *options, "/bin/sh", "-c", "id -u; id -g; id -G")
    assert one.ended() == 0, one.output
    assert one.output.split() == ["1", "7", "7", "50"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--close"], "--close: wants a value"),
        (["--close", "x", "--", "true"], "--close: wants the number of a descriptor"),
        (["--close", "-1", "--", "true"], "--close: wants the number of a descriptor"),
        (["--pid-env", "A=B", "--", "true"], "--pid-env: wants the name of a variable"),
        (["--user", "1", "--", "true"], "--user: wants ids with a colon between them"),
        (["--user", "1:-1", "--", "true"], "--user: wants ids with a colon between them"),
        (["--user-namespace", "1:2:3", "--", "true"], "--user-namespace: wants ids with a colon between them"),
        (["--verbose"], "--verbose: unknown option; --help shows them"),
        (["--"], "--: wants an executable after it"),
        ([], "--: wants an executable after it"),
        (["--pause", "--", "true"], "--pause: goes with neither an executable nor --exec nor --wait-all"),
        (["--exec", "--wait-all", "--", "true"], "--exec: does not go with --wait-all"),
        (["--", "/bin/true"], "not process 1 of a pid namespace: use --exec to execute in place"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(arguments: list[str], complaint: str) -> None:
    result = subprocess.run([INIT, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (125, f"manor-init: {complaint}\n")


def test_help_is_shown_on_request() -> None:
    result = subprocess.run([INIT, "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.startswith("usage: manor-init")


def test_our_own_init_is_found_and_any_other_must_be_static(tmp_path: Path) -> None:
    assert is_own_init(find_init("auto"))
    other = tmp_path / "init"
    shutil.copy(INIT, other)
    assert find_init(str(other)) == other
    assert not is_own_init(other)
    with pytest.raises(InitNotFound, match="`/bin/sh` is not statically linked; use a static build of it, or `auto`"):
        find_init("/bin/sh")
    with pytest.raises(InitNotFound, match="`/no/init`: No such file or directory; install it or use `auto`"):
        find_init("/no/init")
    with pytest.raises(InitNotFound, match="`init` is no absolute path; write one, or `auto`"):
        find_init("init")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(InitNotFound, match="is not statically linked"):
        find_init(str(script))
    other.chmod(0o644)
    with pytest.raises(InitNotFound, match="is not executable; make it so") as caught:
        find_init(str(other))
    assert caught.value.exit_status == 127


def test_arguments_end_where_the_executable_begins() -> None:
    assert init_arguments() == ["--"]
    words = init_arguments(pid_env=["A"], close=[4, 5], non_block=[3], wait_all=True, die_with_parent=True)
    assert " ".join(words) == "--pid-env A --close 4 --close 5 --non-block 3 --die-with-parent --wait-all --"
    assert init_arguments(pause=True) == ["--pause"]
