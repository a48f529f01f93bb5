"""Commands as they run: words, environment, streams, signals, volumes, users, network, and what is left afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vagga_projects import ProjectFolder, make_tiny, processes_in, wait_for

Tiny = Callable[..., ProjectFolder]

pytestmark = pytest.mark.system

SHOW = 'for w in "$@"; do echo "[$w]"; done'


@pytest.mark.case("vagga-47")
def test_the_program_sees_exactly_its_words(tiny: Tiny) -> None:
    project = tiny(
        rest=f"""\
        commands:
          text: !Command {{ container: tiny, run: 'echo only' }}
          text-args: !Command {{ container: tiny, run: '{SHOW}', accepts-arguments: true }}
          list: !Command {{ container: tiny, run: [sh, -c, '{SHOW}', zero, own] }}
          list-only: !Command {{ container: tiny, run: [sh, -c, '{SHOW}', zero, own], description: Me,
            accepts-arguments: false }}
        """
    )
    assert project.out("text") == "only\n"
    words = ["two words", "-x", "--help", "*", ""]
    wanted = "".join(f"[{word}]\n" for word in words)
    assert project.out("text-args", *words) == wanted
    assert project.out("list", *words) == "[own]\n" + wanted
    assert project.out("list-only") == "[own]\n"
    for command in ("text", "list-only"):
        result = project.run(command, "word")
        assert result.returncode == 122 and "Unexpected argument `word`" in result.stderr.decode()
    assert project.out("list-only", "--help") == "Me\n\nusage: vagga list-only\n"


@pytest.mark.case("vagga-48")
def test_the_status_is_that_of_the_program(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          seven: !Command { container: tiny, run: exit 7 }
          crash: !Command { container: tiny, run: kill -SEGV $$ }
          missing: !Command { container: tiny, run: [frobnicate] }
          not-there: !Command { container: tiny, run: [/work/nothing] }
          nowhere: !Command { container: tiny, run: [true], work-dir: missing }
          no-container: !Command { container: other, run: [true] }
        """
    )
    assert project.run("seven").returncode == 7
    assert project.run("crash").returncode == 139
    result = project.run("missing")
    assert result.returncode == 124
    assert "`frobnicate`" in result.stderr.decode() and "PATH=/usr/local/sbin:" in result.stderr.decode()
    assert project.run("not-there").returncode == 124
    result = project.run("nowhere")
    assert result.returncode == 124 and "`/work/missing`" in result.stderr.decode()
    result = project.run("no-container")
    assert (
        result.returncode == 121 and "`other`" in result.stderr.decode() and "`no-container`" in result.stderr.decode()
    )


@pytest.mark.case("vagga-49")
def test_streams_are_passed_byte_for_byte(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          filter: !Command { container: tiny, run: 'echo aside >&2; exec cat' }
          endless: !Command { container: tiny, run: 'while echo y; do :; done' }
          closed: !Command { container: tiny, run: '[ -e /proc/self/fd/0 ] && echo open || echo closed' }
        """
    )
    big = os.urandom(3_000_000)
    result = project.run("filter", stdin=big)
    assert result.stdout == big and result.stderr.endswith(b"aside\n")
    with project.start("endless", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=60) in (128 + signal.SIGPIPE, 1, 2)  # dash tells of EPIPE if PIPE is ignored
    with project.start("closed", stdout=subprocess.PIPE, preexec_fn=lambda: os.close(0)) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"closed\n"


def test_the_callers_environment_stays_outside(tiny: Tiny) -> None:
    project = tiny(
        options="environ: { A: container, B: container }\nenviron-file: /work/env.txt\n",
        rest="commands:\n  env: !Command { container: tiny, run: [env], environ: { A: command } }\n",
    )
    project.write("env.txt", "B=file\nC='file c'\n")
    shown = project.out("-E", "D=flag", "-e", "E", "env", environ={"E": "caller", "SECRET": "x", "VAGGAENV_F": "f"})
    variables = dict(line.split("=", 1) for line in shown.splitlines())
    wanted = {"A": "command", "B": "container", "C": "file c", "D": "flag", "E": "caller", "F": "f", "HOME": "/root"}
    assert wanted.items() <= variables.items()
    assert variables.keys() - wanted.keys() <= {"PATH", "TERM", "PWD"}
    project.write("env.txt", "A=1\nnonsense\n")
    result = project.run("env")
    assert result.returncode == 124 and "/work/env.txt:2:1:" in result.stderr.decode()


@pytest.mark.case("vagga-04")
def test_scalars_of_an_environment_keep_every_character(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          show: !Command { container: tiny, run: 'echo $A $B $C', environ: { A: 1.10, B: 0080, C: yes } }
        """
    )
    assert project.out("show") == "1.10 0080 yes\n"
    make_tiny(project, options="auto-clean: yes\n")
    result = project.run("show")
    assert result.returncode == 126 and "write `true` or `false`" in result.stderr.decode()


@pytest.mark.case("vagga-55")
def test_files_in_work_are_the_callers_and_the_image_is_read_only(tiny: Tiny) -> None:
    project = tiny(rest="commands:\n  sh: !Command { container: tiny, run: [sh, -c] }\n")
    (project.root / "sub").mkdir()
    assert project.run("sh", "pwd; echo x > made", at="sub").stdout == b"/work/sub\n"
    assert (project.root / "sub/made").stat().st_uid == os.getuid()
    result = project.run("sh", "touch /bin/x")
    assert result.returncode != 0 and b"Read-only file system" in result.stderr
    assert project.out("_run", "-W", "tiny", "sh", "-c", "touch /bin/x; ls /bin/x") == "/bin/x\n"
    assert not (project.image("tiny") / "bin/x").exists()
    assert os.listdir(project.root / ".vagga/.transient") == []


def test_a_transient_overlay_is_thrown_away(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          w: !Command { container: tiny, run: 'echo x > /new; cat /new', write-mode: transient-overlay }
        """
    )
    assert project.out("w") == "x\n"
    assert not (project.image("tiny") / "new").exists()


@pytest.mark.case("vagga-52")
@pytest.mark.parametrize("how", ["the command ends", "vagga is killed", "an inner process is killed"])
def test_nothing_is_left_behind(tiny: Tiny, how: str) -> None:
    stay = "trap '' TERM HUP INT; while :; do sleep 0.2; done"
    ending = "" if how == "the command ends" else "; cat"
    project = tiny(
        rest=f"""\
        commands:
          leave: !Command
            container: tiny
            run: "({stay}) & (({stay}) & ) ; echo ready{ending}"
        """
    )
    project.out("_build", "tiny")
    before = Path("/proc/mounts").read_text()
    vagga = project.start("leave", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert vagga.stdout is not None and vagga.stdin is not None
    assert vagga.stdout.readline() == b"ready\n"
    if how == "vagga is killed":
        vagga.kill()
    elif how == "an inner process is killed":
        children = Path(f"/proc/{vagga.pid}/task/{vagga.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
    vagga.wait(timeout=30)
    wait_for(lambda: not processes_in(project.root), within_s=10)
    assert Path("/proc/mounts").read_text() == before
    for stream in (vagga.stdin, vagga.stdout):
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@pytest.mark.case("vagga-53")
def test_pid_1_is_what_was_asked_for(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          wait: !Command { container: tiny, run: 'echo $$; (sleep 60; echo late) &', pid1mode: wait }
          all: !Command
            container: tiny
            run: 'echo $$; (sleep 0.3; echo late) & exit 5'
            pid1mode: wait-all-children
          exec: !Command { container: tiny, run: 'echo $$; (sleep 60; echo late) &', pid1mode: exec }
          orphans: !Command { container: tiny, run: '(sleep 0 & ); (sleep 0 & ); sleep 0.5; ps ax' }
        """
    )
    result = project.run("wait")
    assert result.stdout.strip() != b"1" and b"late" not in result.stdout
    result = project.run("all")
    assert result.returncode == 5
    first, *rest = result.stdout.split()
    assert first != b"1" and rest == [b"late"]
    result = project.run("exec")
    assert result.stdout == b"1\n"
    assert "defunct" not in project.out("orphans")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_to_vagga_ends_the_command(tiny: Tiny, number: int, status: int) -> None:
    project = tiny(rest="commands:\n  cat: !Command { container: tiny, run: [sh, -c, 'echo up; exec cat'] }\n")
    with project.start("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == status


def test_a_command_may_live_on_after_an_interrupt_and_a_second_term_kills(tiny: Tiny) -> None:
    script = "trap 'echo int' INT; trap 'echo term' TERM; echo up; while :; do sleep 0.05; done"
    project = tiny(rest=f'commands:\n  trap: !Command {{ container: tiny, run: "{script}" }}\n')
    with project.start("trap", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for sent, said in ((None, b"up\n"), (signal.SIGINT, b"int\n"), (signal.SIGTERM, b"term\n")):
            if sent is not None:
                process.send_signal(sent)
            assert process.stdout.readline() == said
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 137


def test_volumes_are_what_they_say(tiny: Tiny) -> None:
    project = tiny(
        options="""\
        volumes:
          /ro: !BindRO /work/data
          /rw: !BindRW /work/data
          /rw/inner: !Tmpfs { mode: 0o700, size: 1Mi, subdirs: { a: { mode: 0o711 } }, files: { a/f: text, g: null } }
          /none: !Empty
          /kept: !Persistent box
          /file: !BindRO /work/data/file
          /outer: !BindRO /volumes/outer
          /cached: !CacheDir manor-test/cached
        """,
        rest="""\
        commands:
          sh: !Command { container: tiny, run: [sh, -c] }
          over: !Command { container: tiny, run: [sh, -c], volumes: { /none: !Tmpfs , /run: !Empty } }
        """,
    )
    project.write("data/file", "content")
    (project.root / "data/inner").mkdir()
    outer = project.home / "outer"
    outer.mkdir()
    (outer / "o").write_text("outer")
    project.settings = project.settings[:-1] + f", external-volumes: {{ outer: {outer} }}}}"

    def sh(script: str) -> str:
        return project.out("sh", script)

    assert sh("cat /ro/file /file /outer/o") == "contentcontentouter"
    assert "Read-only" in project.run("sh", "echo x > /ro/new").stderr.decode()
    assert "Read-only" in project.run("sh", "echo x > /file").stderr.decode()
    sh("echo made > /rw/new")
    assert (project.root / "data/new").read_text() == "made\n"
    assert sh("stat -c %a /rw/inner /rw/inner/a /rw/inner/a/f /none /tmp /run /run/shm; cat /rw/inner/a/f") == (
        "700\n711\n644\n0\n1777\n755\n1777\ntext"
    )
    assert "Read-only" in project.run("sh", "echo x > /none/x").stderr.decode()
    sh("echo one >> /kept/log")
    assert sh("echo two >> /kept/log; cat /kept/log") == "one\ntwo\n"
    assert (project.root / ".vagga/.volumes/box/log").exists()
    sh("echo c > /cached/x")
    assert project.out("over", "echo x > /none/x; cat /none/x; stat -c %a /run") == "x\n0\n"
    assert not (project.image("tiny") / "rw").exists()  # the mount points were not in the image, and still are not


@pytest.mark.parametrize(
    ("volume", "status", "said"),
    [
        ("!BindRO /work/missing", 124, "`/work/missing`"),
        ("!BindRW /etc", 124, "`/work` and `/volumes/NAME`"),
        ("!BindRW /volumes/unknown", 124, "`unknown`"),
        ("!BindRW relative", 126, "relative"),
        ("!CacheDir /abs", 124, "relative"),
        ("!CacheDir ''", 124, "not empty"),
        ("!Tmpfs { mode: 0o7777 }", 126, "maximum"),
        ("!Persistent a/b", 126, "letters"),
        ("!BindRO /work/file", 124, "has to be a file"),
    ],
)
def test_a_wrong_volume_is_explained(tiny: Tiny, volume: str, status: int, said: str) -> None:
    project = tiny(
        steps="- !EnsureDir /v\n",
        options=f"volumes:\n  /v: {volume}\n",
        rest="commands:\n  t: !Command { container: tiny, run: [true] }\n",
    )
    project.write("file", "x")
    result = project.run("t")
    assert (result.returncode, said in result.stderr.decode()) == (status, True), result.stderr.decode()


@pytest.mark.case("vagga-62")
@pytest.mark.parametrize("form", ["{port}", "127.0.0.1:{port}", "localhost4:{port}", "*:{port}", "[::1]:{port}"])
@pytest.mark.parametrize("isolated", ["false", "true"])
def test_a_socket_is_handed_over_as_descriptor_3(tiny: Tiny, form: str, isolated: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    form = form.replace("localhost4", socket.gethostbyname("localhost"))
    serve = "echo up; exec /work/serve"
    project = tiny(
        rest=f"""\
        commands:
          serve: !Command
            container: tiny
            run: "{serve}"
            pass-tcp-socket: "{form.format(port=port)}"
            isolate-network: {isolated}
        """
    )
    build_server(project.root)
    host = "::1" if form.startswith("[") else "127.0.0.1"
    with project.start("serve", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        with socket.create_connection((host, port), timeout=30) as connection:
            assert connection.recv(100) == b"hello\n"
        second = project.run("serve")
        assert second.returncode == 121 and "Address already in use" in second.stderr.decode()
        process.terminate()
        process.wait(timeout=30)


def build_server(root: Path) -> None:
    """A static program that answers every connection on descriptor 3."""
    source = root / "serve.c"
    source.write_text(
        "#include <sys/socket.h>\n#include <unistd.h>\n"
        "int main(void) { for (;;) { int c = accept(3, 0, 0); if (c < 0) return 1;\n"
        '                  write(c, "hello\\n", 6); close(c); } }\n'
    )
    subprocess.run(["cc", "-static", "-w", "-o", root / "serve", source], check=True)


@pytest.mark.case("vagga-63")
def test_an_isolated_network_has_only_a_loopback_that_is_up(tiny: Tiny) -> None:
    look = "cat /proc/net/dev; echo ----; cat /proc/net/fib_trie"

    def devices(shown: str) -> set[str]:
        return {line.partition(":")[0].strip() for line in shown.partition("----")[0].splitlines() if ":" in line}

    project = tiny(
        rest=f"""\
        commands:
          isolated: !Command {{ container: tiny, run: '{look}', isolate-network: true }}
          open: !Command {{ container: tiny, run: '{look}' }}
        """
    )
    calls = [("isolated",), ("--no-net", "open"), ("--isolate-network", "_run", "tiny", "sh", "-c", look)]
    for call in calls:
        shown = project.out(*call)
        assert devices(shown) == {"lo"}
        assert "127.0.0.1" in shown  # the address is there only once the device is up
    here = {name for _, name in socket.if_nameindex()}
    assert here <= devices(project.out("open"))


@pytest.mark.case("vagga-60")
def test_prerequisites_run_before_what_needs_them_each_once(tiny: Tiny) -> None:
    def command(name: str, needs: str, script: str = "") -> str:
        run = f"echo {name} >> /work/log; {script}"
        return f"  {name}: !Command {{ container: tiny, run: '{run}', prerequisites: [{needs}] }}\n"

    project = tiny(
        rest="commands:\n"
        + command("one", "")
        + command("two", "one")
        + command("three", "one")
        + command("four", "two, three")
        + command("bad", "", "exit 9")
        + command("after-bad", "one, bad")
        + command("lost", "nobody")
    )

    def ran(*words: str, status: int = 0) -> list[str]:
        (project.root / "log").unlink(missing_ok=True)
        assert project.run(*words).returncode == status
        return (project.root / "log").read_text().split() if (project.root / "log").exists() else []

    assert ran("four") == ["one", "two", "three", "four"]
    assert ran("-m", "three", "two", "four") == ["one", "three", "two", "four"]
    assert ran("after-bad", status=9) == ["one", "bad"]
    assert ran("lost", status=121) == []
    assert ran("--no-prerequisites", "four") == ["four"]
    assert ran("--containers-only", "four") == []


def test_users_inside_are_the_mapped_ones(tiny: Tiny) -> None:
    project = tiny(
        rest="""\
        commands:
          bin: !Command
            { container: tiny, run: 'id -u; touch /work/by-bin', user-id: 1, group-id: 2, supplementary-gids: [7] }
          alias: !Command { container: tiny, run: 'id -u; touch /work/by-alias', user-id: 1, external-user-id: 0 }
          none: !Command { container: tiny, run: [true], user-id: 99999999 }
        """
    )
    (project.root).chmod(0o777)
    assert project.out("bin") == "1\n" and project.out("alias") == "1\n"
    assert (project.root / "by-alias").stat().st_uid == os.getuid()
    assert (project.root / "by-bin").stat().st_uid != os.getuid()
    result = project.run("none")
    assert result.returncode == 124 and "99999999" in result.stderr.decode() and "uids" in result.stderr.decode()


def test_a_warm_command_imports_no_build_code_and_no_network_library(tiny: Tiny) -> None:
    project = tiny(rest="commands:\n  t: !Command { container: tiny, run: [true] }\n")
    project.out("t")
    (project.home / ".vagga.yaml").write_text(project.settings)
    project.settings = ""  # the environment's settings are read anew each time, those of files are kept
    project.out("t")
    result = project.run("t", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    told = [line for line in result.stderr.decode().splitlines() if line.startswith("import time:")]
    imported = {line.split("|")[2].strip() for line in told}
    assert "manor.vagga.running" in imported
    forbidden = {
        "aiohttp", "asyncio", "docopt", "pyroute2", "ssl", "yaml", "argparse", "http.client", "urllib.request",
        "tarfile", "email", "manor.config.loader", "manor.vagga.builder", "manor.vagga.merging", "manor.vagga.flatten",
        "manor.vagga.guest", "manor.vagga.packages", "manor.vagga.copying",
    }  # fmt: skip
    assert not imported & forbidden


def test_banner_and_epilog_go_to_standard_error(tiny: Tiny) -> None:
    project = tiny(
        rest="commands:\n  b: !Command { container: tiny, run: echo out, banner: before, epilog: 'after' }\n",
    )
    project.out("_build", "tiny")
    result = project.run("b")
    assert (result.stdout, result.stderr) == (b"out\n", b"before\nafter")


def test_the_init_is_not_seen_and_the_proc_is_the_containers_own(tiny: Tiny) -> None:
    project = tiny(
        rest="commands:\n  look: !Command { container: tiny, run: 'ls /; ls /proc/self/fd; cat /proc/1/comm' }\n"
    )
    shown = project.out("look")
    assert "manor-init\n" in shown
    assert not [line for line in shown.splitlines() if line.isdigit() and int(line) > 3]
