"""Real builds without a download: a root of a few of the host's programs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vagga_projects import ProjectFolder, children_of, make_tiny, processes_in, wait_for

Tiny = Callable[..., ProjectFolder]

pytestmark = pytest.mark.system


def modes(root: Path, *paths: str) -> dict[str, str]:
    return {path: f"{stat.S_IMODE((root / path).lstat().st_mode):o}" for path in paths}


def test_an_image_is_a_plain_directory_named_by_its_version(tiny: Tiny) -> None:
    project = tiny(steps="- !Text { /hello: world }")
    project.out("_build", "tiny")
    short = project.out("_version_hash", "-s", "tiny").strip()
    assert os.readlink(project.root / ".vagga/tiny") == f".roots/tiny.{short}/root"
    assert project.roots == [f"tiny.{short}"]
    assert (project.image("tiny") / "hello").read_text() == "world"
    image = project.image("tiny").parent
    recorded = {"meta.json", "recipe.json", "uid_map", "gid_map", "last_use", "timings.log", "build.log"}
    assert recorded <= set(os.listdir(image))
    assert (project.root / ".vagga/.gitignore").read_text() == "*\n"
    again = project.run("_build", "tiny")
    assert again.returncode == 0 and again.stderr == b""


@pytest.mark.case("vagga-17")
def test_a_changed_step_leaves_those_before_it_alone(tiny: Tiny) -> None:
    def steps(word: str) -> str:
        numbers = [*range(1, 11)]
        lines = [f"- !Sh 'read t < /proc/uptime; echo {n} {word if n == 9 else 'x'} $t >> /log'" for n in numbers]
        return "\n".join(lines) + "\n"

    project = tiny(steps=steps("old"))
    project.out("_build", "tiny")
    first = (project.image("tiny") / "log").read_text().splitlines()
    make_tiny(project, steps=steps("new"))
    project.out("_build", "tiny")
    second = (project.image("tiny") / "log").read_text().splitlines()
    assert second[:8] == first[:8]
    assert second[8].split()[1] == "new" and second[9] != first[9]
    timings = (project.image("tiny").parent / "timings.log").read_text().splitlines()
    assert [line.endswith(" cached") for line in timings] == [True] * 10 + [False] * 2
    assert len(project.roots) == 2


@pytest.mark.case("vagga-18")
def test_two_containers_built_at_once_share_their_first_steps(tiny: Tiny) -> None:
    shared = "\n".join(f"- !Sh 'echo {n} >> /work/ran; sleep 0.1; echo {n} >> /log'" for n in range(1, 6))
    project = tiny(steps=shared)
    body = (project.root / "vagga.yaml").read_text().partition("  tiny:\n")[2]
    project.write("vagga.yaml", "containers:\n" + "".join(f"  {n}:\n{body}    - !Sh 'echo {n} > /me'\n" for n in "ab"))
    builds = [project.start("_build", name, stderr=subprocess.DEVNULL) for name in "ab"]
    assert [build.wait(timeout=60) for build in builds] == [0, 0]
    assert (project.root / "ran").read_text().split() == ["1", "2", "3", "4", "5"]
    assert (project.image("a") / "me").read_text() == "a\n" and (project.image("b") / "me").read_text() == "b\n"


@pytest.mark.case("vagga-19")
def test_a_failed_step_is_named_and_the_next_build_begins_there(tiny: Tiny) -> None:
    project = tiny(steps="- !Text { /before: b }\n- !Sh exit 3\n- !Text { /after: a }")
    result = project.run("_build", "tiny")
    assert result.returncode == 121
    assert "container `tiny`, step 4/5 Sh exit 3: `/bin/sh -exc exit 3` ended with status 3" in result.stderr.decode()
    assert "vagga _run --step 3 tiny sh" in result.stderr.decode()
    assert project.roots == []
    assert "before" in project.out("_run", "--step", "3", "tiny", "ls", "/").split()
    make_tiny(project, steps="- !Text { /before: b }\n- !Sh exit 0\n- !Text { /after: a }")
    told = project.run("_build", "tiny").stderr.decode()
    assert "tiny 4/5 Sh exit 0" in told and "3/5" not in told
    assert "3 steps taken from layers, 2 run" in told


def test_the_message_of_a_failure_names_its_place(tiny: Tiny) -> None:
    project = tiny(steps="- !Sh |\n    echo one\n    false\n    echo two")
    result = project.run("_build", "tiny")
    assert result.returncode == 121 and result.stdout == b""
    assert b"+ echo one\none\n+ false\n" in result.stderr and b"two\n" not in result.stderr.replace(b"echo two", b"")


@pytest.mark.case("vagga-27")
def test_a_step_sees_its_variables_an_empty_input_and_one_output(tiny: Tiny) -> None:
    project = tiny(
        steps="""\
        - !Env { GREETING: hello }
        - !Sh 'echo $GREETING; echo $HOME $TERM >&2; cat > /input; env > /env; id > /id; pwd > /pwd'
        """
    )
    result = project.run("_build", "tiny", environ={"CALLERS": "secret"})
    assert result.returncode == 0 and result.stdout == b""
    assert b"hello\n" in result.stderr and b"/tmp dumb\n" in result.stderr
    image = project.image("tiny")
    assert (image / "input").read_bytes() == b""
    names = {line.partition("=")[0] for line in (image / "env").read_text().splitlines()} - {"PWD", "_", "SHLVL"}
    certificates = {name for name in names if "CA" in name or "CERT" in name or "SSL" in name}
    assert names - certificates == {"PATH", "HOME", "TERM", "GREETING"}
    assert (image / "id").read_text().startswith("uid=0(root) gid=0(root) groups=0(root)")
    assert (image / "pwd").read_text() == "/work\n"
    failing = make_tiny(project, steps="- !Sh |\n    true\n    cat /missing\n    echo not reached")
    assert b"not reached\n" not in failing.run("_build", "tiny").stderr.replace(b"echo not reached", b"")


def test_a_program_that_is_missing_is_named_with_the_path(tiny: Tiny) -> None:
    result = tiny(steps="- !Cmd [frobnicate, -x]").run("_build", "tiny")
    assert result.returncode == 121
    assert "`frobnicate` was not found in PATH=/usr/local/sbin:" in result.stderr.decode()


def test_processes_a_step_leaves_behind_are_gone_before_the_next(tiny: Tiny) -> None:
    project = tiny(steps="- !Sh sleep 1000 & echo started\n- !Sh 'ps ax > /processes'")
    project.out("_build", "tiny")
    assert "sleep" not in (project.image("tiny") / "processes").read_text()


@pytest.mark.case("vagga-33")
def test_copied_files_get_the_modes_owners_and_times_asked_for(tiny: Tiny) -> None:
    project = tiny(
        steps="""\
        - !Copy { source: /work/src, path: /plain }
        - !Copy { source: /work/src, path: /umask, umask: 0o077 }
        - !Copy { source: /work/src, path: /kept, preserve-permissions: true, preserve-times: true, umask: 0o077 }
        - !Copy { source: /work/src, path: /owned, owner-uid: 1, owner-gid: 2 }
        - !Copy { source: /plain/run, path: /again }
        """
    )
    project.write("src/run", "x", mode=0o750)
    project.write("src/data", "x", mode=0o604)
    (project.root / "src/link").symlink_to("data")
    (project.root / "src").chmod(0o711)
    for name in ("run", "data"):
        os.utime(project.root / "src" / name, (5, 5))
    project.out("_build", "tiny")
    image = project.image("tiny")
    assert modes(image, "plain", "plain/run", "plain/data") == {"plain": "775", "plain/run": "775", "plain/data": "664"}
    assert modes(image, "umask", "umask/run", "umask/data") == {"umask": "700", "umask/run": "700", "umask/data": "600"}
    assert modes(image, "kept", "kept/run", "kept/data") == {"kept": "711", "kept/run": "750", "kept/data": "604"}
    assert os.readlink(image / "plain/link") == "data"
    assert (image / "plain/run").stat().st_mtime == 1
    assert (image / "again").read_text() == "x"
    uid_map = [list(map(int, line.split())) for line in (image.parent / "uid_map").read_text().splitlines()]

    def outside(number: int) -> int:
        return next(o + number - i for i, o, count in uid_map if i <= number < i + count)

    owners = {name: (image / name).lstat().st_uid for name in ("plain/run", "owned/run", "owned/link", "owned")}
    assert owners == {
        "plain/run": outside(0),
        "owned/run": outside(1),
        "owned/link": outside(1),
        "owned": outside(1),
    }


def test_times_of_the_source_are_kept_up_to_the_epoch(tiny: Tiny) -> None:
    project = tiny(steps="- !Copy { source: /work/src, path: /kept, preserve-times: true }")
    project.write("src/old", "x")
    project.write("src/new", "x")
    os.utime(project.root / "src/old", (5, 5))
    os.utime(project.root / "src/new", (50, 50))
    project.settings = project.settings.removesuffix("}") + ", source-date-epoch: 20 }"
    project.out("_build", "tiny")
    kept = project.image("tiny") / "kept"
    assert ((kept / "old").stat().st_mtime, (kept / "new").stat().st_mtime) == (5, 20)


def test_the_promised_paths_exist_and_no_others(tiny: Tiny) -> None:
    project = tiny(
        steps="""\
        - !Sh 'umask 077; touch /tmp/x /removed; touch /emptied/x 2>/dev/null || true'
        - !EnsureDir /ensured/deep
        - !EmptyDir /emptied
        - !Sh 'touch /emptied/later /tmp/y; touch /removed; echo 1 > /etc/resolv.conf || true'
        - !Remove /removed
        """,
        containers="""\
        on-top:
            setup:
            - !Container tiny
            - !Sh 'touch /emptied/again /removed; ls /ensured/deep'
        """,
    )
    project.out("_build", "on-top")
    for name in ("tiny", "on-top"):
        image = project.image(name)
        assert (image / "ensured/deep").is_dir()
        assert os.listdir(image / "emptied") == [] and os.listdir(image / "tmp") == []
        assert not (image / "removed").exists()
        assert (image / "etc/resolv.conf").read_bytes() == b"" and (image / "etc/hosts").read_bytes() == b""
        wanted = dict.fromkeys(("dev", "proc", "sys", "run", "work", "etc"), "755") | {"tmp": "1777"}
        assert modes(image, *wanted) == wanted


@pytest.mark.case("vagga-35")
def test_ten_containers_on_each_other_copy_no_data(tiny: Tiny) -> None:
    chain = "".join(
        f"c{n}:\n  setup:\n  - !Container {'tiny' if n == 1 else f'c{n - 1}'}\n  - !Text {{ /n{n}: x }}\n"
        for n in range(1, 11)
    )
    project = tiny(containers=chain)
    project.out("_build", "tiny")

    def used() -> int:
        seen: dict[tuple[int, int], int] = {}
        for directory, _, names in os.walk(project.root / ".vagga"):
            for path in [directory, *(f"{directory}/{name}" for name in names)]:
                status = os.lstat(path)
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
        return sum(seen.values())

    before = used()
    project.out("_build", "c10")
    assert used() - before < 10 * (1 << 20)
    assert (project.image("c10") / "n1").read_text() == "x"
    assert (project.image("c10") / "bin/sh").samefile(project.image("tiny") / "bin/sh")


def test_build_takes_a_file_and_a_selection_from_another_container(tiny: Tiny) -> None:
    project = tiny(
        steps="- !Text { /out/a.py: a, /out/b.txt: b, /out/sub/c.py: c, /single: s }\n",
        containers="""\
        user:
            setup:
            - !Build { container: tiny, source: /single, path: /deep/one }
            - !Build { container: tiny, source: /out, path: /taken, rules: ["/**/*.py"] }
        """,
    )
    project.out("_build", "user")
    image = project.image("user")
    assert (image / "deep/one").read_text() == "s"
    assert sorted(str(p.relative_to(image / "taken")) for p in (image / "taken").rglob("*")) == [
        "a.py",
        "sub",
        "sub/c.py",
    ]
    before = project.out("_version_hash", "user")
    text = (project.root / "vagga.yaml").read_text().replace("source: /single", "source: /out/b.txt")
    project.write("vagga.yaml", text)
    assert project.out("_version_hash", "user") != before
    project.out("_build", "user")
    assert (project.image("user") / "deep/one").read_text() == "b"
    project.write("vagga.yaml", text.replace("source: /out/b.txt", "source: /nowhere"))
    result = project.run("_build", "user")
    assert result.returncode == 121 and "`/nowhere` is not in the image of `tiny`" in result.stderr.decode()


@pytest.mark.case("vagga-24")
def test_a_file_that_a_step_makes_is_known_after_the_build(tiny: Tiny) -> None:
    project = tiny(steps="- !Sh 'echo made > /work/gen.txt'\n- !Depends gen.txt")
    result = project.run("_version_hash", "tiny")
    assert result.returncode == 29 and result.stdout == b""
    project.out("_build", "tiny")
    short = project.out("_version_hash", "-s", "tiny").strip()
    assert project.roots == [f"tiny.{short}"]


def test_a_named_file_that_never_comes_fails_with_its_name(tiny: Tiny) -> None:
    project = tiny(steps="- !Depends gen.txt")
    result = project.run("_build", "tiny")
    assert result.returncode == 121
    assert "gen.txt" in result.stderr.decode() and "Depends" in result.stderr.decode()
    assert project.roots == []


@pytest.mark.case("vagga-21")
def test_two_builders_of_one_image_build_it_once(tiny: Tiny) -> None:
    project = tiny(steps="- !Sh 'echo ran >> /work/ran; while ! cat /work/go 2>/dev/null; do sleep 0.05; done'")
    first = project.start("_build", "tiny", stderr=subprocess.DEVNULL)
    wait_for(lambda: (project.root / "ran").exists())
    impatient = project.run(
        "_build", "tiny", environ={"VAGGA_SETTINGS": project.settings[:-1] + ", build-lock-wait: false}"}
    )
    assert impatient.returncode == 121
    assert str(first.pid) in impatient.stderr.decode()
    second = project.start("_build", "tiny", stderr=subprocess.PIPE)
    assert second.stderr is not None
    assert f"waiting for process {first.pid}" in second.stderr.readline().decode()
    project.write("go", "go")
    assert [first.wait(timeout=60), second.wait(timeout=60)] == [0, 0]
    second.stderr.close()
    assert (project.root / "ran").read_text() == "ran\n"


@pytest.mark.case("vagga-22")
def test_without_leave_to_build_the_status_is_29(tiny: Tiny) -> None:
    project = tiny(
        steps="- !Text { /v: one }", rest="commands:\n  show: !Command { container: tiny, run: [cat, /v] }\n"
    )
    for flag in ("--no-build", "--no-version-check"):
        result = project.run(flag, "show")
        assert result.returncode == 29 and "`tiny`" in result.stderr.decode()
    assert project.out("show") == "one"
    project.write("vagga.yaml", (project.root / "vagga.yaml").read_text().replace("/v: one", "/v: two"))
    result = project.run("--no-build", "show")
    assert result.returncode == 29
    assert "have " in result.stderr.decode() and "want " in result.stderr.decode()
    assert project.out("--no-version-check", "show") == "one"
    assert project.out("show") == "two"


@pytest.mark.parametrize("moment", range(6))
def test_a_killed_build_leaves_nothing_half_done(tiny: Tiny, moment: int) -> None:
    steps = "\n".join(f"- !Sh 'echo {n} >> /work/steps; sleep 0.02; echo {n} > /f{n}'" for n in range(6))
    project = tiny(steps=steps)
    marks = project.root / "steps"
    build = project.start("_build", "tiny", stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: (marks.exists() and len(marks.read_text().split()) > moment) or build.poll() is not None)
    inner = [int(pid) for pid in children_of(build.pid)]
    os.kill(build.pid if moment % 2 == 0 or not inner else inner[0], signal.SIGKILL)
    build.wait(timeout=30)
    wait_for(lambda: not processes_in(project.root))
    assert all(
        not name.startswith("tiny.") or (project.root / ".vagga/.roots" / name / "last_use").exists()
        for name in project.roots
    )
    project.out("_build", "tiny")
    project.out("_clean", "--tmp")
    left = [p for d in (".roots", ".layers") for p in os.listdir(project.root / ".vagga" / d) if p.startswith(".tmp.")]
    assert left == []


def test_several_overlays_high_is_fine(tiny: Tiny) -> None:
    """As many steps as no mount could name by their paths."""
    project = tiny(steps="\n".join(f"- !Text {{ /many/{n}: x }}" for n in range(150)))
    project.out("_build", "tiny")
    assert len(os.listdir(project.image("tiny") / "many")) == 150


@pytest.mark.case("vagga-75")
def test_packing_gives_the_same_bytes_and_the_same_tree(tiny: Tiny, tmp_path: Path) -> None:
    project = tiny(
        containers="""\
        small:
          setup:
          - !Text { /file: x }
          - !EnsureDir /a/b
          - !Copy { source: /file, path: /owned, owner-uid: 7, owner-gid: 8 }
        """
    )
    for flag in ((), ("-z",), ("-j",), ("-J",), ("--zstd",)):
        first, second = tmp_path / "first", tmp_path / "second"
        for place in (first, second):
            project.out("_pack_image", "-f", str(place), *flag, "small")
        assert first.read_bytes() == second.read_bytes()
    plain = tmp_path / "plain.tar"
    project.out("_pack_image", "-f", str(plain), "small")
    assert subprocess.run(["tar", "tf", plain], capture_output=True, check=True).stdout.startswith(b"./\n")
    listed = subprocess.run(["tar", "tvf", plain, "./owned"], capture_output=True, check=True).stdout.decode()
    assert " 7/8 " in listed
    result = project.run("_pack_image", "small")
    assert result.stdout == plain.read_bytes()
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xpf", plain, "-C", unpacked, "--same-owner", "--numeric-owner"], check=True)
    same = subprocess.run(["diff", "-r", "--no-dereference", unpacked, project.image("small")], check=False)
    assert same.returncode == 0
    primary, secondary = os.openpty()
    with project.start("_pack_image", "tiny", stdout=secondary, stderr=subprocess.DEVNULL) as refused:
        assert refused.wait(timeout=60) == 122
    os.close(primary)
    os.close(secondary)


def test_cleaning_removes_its_share_and_keeps_what_is_in_use(tiny: Tiny) -> None:
    project = tiny(
        steps="- !Text { /v: one }",
        rest="commands:\n  hold: !Command { container: tiny, run: 'echo up; cat' }\n",
    )
    project.out("_build", "tiny")
    old = project.roots[0]
    with project.start("hold", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == b"up\n"
        project.write("vagga.yaml", (project.root / "vagga.yaml").read_text().replace("/v: one", "/v: two"))
        project.out("_build", "tiny")
        result = project.run("_clean", "--old")
        assert result.returncode == 0 and "is in use and stays" in result.stderr.decode()
        assert old in project.roots
        holder.stdin.close()
        assert holder.wait(timeout=30) == 0
    assert project.out("_clean", "--old", "-n") == f"Would remove {project.root}/.vagga/.roots/{old}\n"
    assert old in project.roots
    project.out("_clean", "--old")
    assert old not in project.roots and len(project.roots) == 1
    project.write("vagga.yaml", (project.root / "vagga.yaml").read_text().replace("/v: two", "/v: three"))
    project.out("_clean", "--unused")
    assert project.roots == [] and not (project.root / ".vagga/tiny").is_symlink()
    assert project.run("_clean").returncode == 1
    assert project.run("_clean", "--nonsense").returncode == 1
    assert project.run("_clean", "--layers").returncode == 1
    project.out("_clean", "--everything")
    assert set(os.listdir(project.root / ".vagga")) <= {".roots", ".state"}


def test_auto_clean_removes_the_version_before(tiny: Tiny) -> None:
    project = tiny(steps="- !Text { /v: one }", options="auto-clean: true\n")
    project.out("_build", "tiny")
    project.write("vagga.yaml", (project.root / "vagga.yaml").read_text().replace("/v: one", "/v: two"))
    project.out("_build", "tiny")
    assert len(project.roots) == 1
    assert (project.image("tiny") / "v").read_text() == "two"


@pytest.mark.case("vagga-46")
def test_a_full_file_system_is_told_and_heals(project: ProjectFolder) -> None:
    make_tiny(project, steps="- !Sh 'i=0; while [ $i -lt 200 ]; do cat /work/block >> /big; i=$((i+1)); done'")
    (project.root / "block").write_bytes(b"x" * 100_000)
    (project.root / ".vagga").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", project.root / ".vagga"], check=True)
    try:
        result = project.run("_build", "tiny")
        assert result.returncode == 121
        assert "No space left on device" in result.stderr.decode()
        subprocess.run(["mount", "-o", "remount,size=200m", project.root / ".vagga"], check=True)
        project.out("_build", "tiny")
        assert not [n for n in os.listdir(project.root / ".vagga/.layers") if n.startswith(".tmp.")]
        project.write("vagga.yaml", (project.root / "vagga.yaml").read_text() + "    - !Text { /more: x }\n")
        subprocess.run(["mount", "-o", "remount,ro", project.root / ".vagga"], check=True)
        result = project.run("_build", "tiny")
        assert result.returncode == 121
        assert "Read-only file system" in result.stderr.decode() and ".vagga" in result.stderr.decode()
    finally:
        subprocess.run(["umount", "-l", project.root / ".vagga"], check=True)


def test_overlay_support_is_told(tiny: Tiny) -> None:
    assert tiny().out("_check_overlayfs_support") == "supported\n"


@pytest.mark.case("vagga-76")
def test_root_keeps_out_of_other_peoples_projects(tiny: Tiny) -> None:
    project = tiny()
    os.chown(project.root, 12345, 12345)
    result = project.run("_build", "tiny")
    assert result.returncode == 122 and "--ignore-owner-check" in result.stderr.decode()
    assert project.roots == []
    project.out("--ignore-owner-check", "_build", "tiny")
    assert len(project.roots) == 1
