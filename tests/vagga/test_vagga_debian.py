"""Debian images, as root and as an ordinary user; the base comes from the cache, packages from there too."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from vagga_projects import USER, ProjectFolder, make_tiny, own_project

from manor.vagga.durable import remove_tree

pytestmark = [pytest.mark.system, pytest.mark.alone("debian"), pytest.mark.timeout(600)]

DEB = """\
    containers:
      deb:
        setup:
        - !Debian bookworm
    commands:
      os: !Command { container: deb, run: [cat, /etc/os-release] }
      sh: !Command { container: deb, run: [sh, -c] }
"""

# All in one project, so that the base is unpacked once; the Python containers share the layers of their packages.
ALL = (
    DEB
    + """\
      py-uv: !Command { container: py-uv, run: [python3, -c, "import six; print(six.__version__)"] }
      py-pip: !Command { container: py-pip, run: [python3, -c, "import six; print(six.__version__)"] }
"""
).replace(
    "    commands:",
    """\
      without:
        setup:
        - !Debian bookworm
        - !BuildDeps [bc]
        - !Sh echo 6*7 | bc > /answer
      with:
        setup:
        - !Container without
        - !BuildDeps [bc]
        - !Install [bc]
      twice:
        setup:
        - !Debian bookworm
        - !Debian trixie
      no-package:
        setup:
        - !Debian bookworm
        - !Install [no-such-package-at-all]
      no-distribution:
        setup:
        - !Install [bc]
      py-uv:
        setup:
        - !Debian bookworm
        - !Install [python3]
        - !PipConfig { installer: uv, install-python: false }
        - !Py3Install [six==1.16.0]
      py-pip:
        setup:
        - !Debian bookworm
        - !Install [python3]
        - !PipConfig { installer: pip, install-python: false }
        - !Py3Install [six==1.16.0]
    commands:""",
)


@pytest.fixture(scope="module")
def debian() -> Iterator[ProjectFolder]:
    """One project for all of these tests."""
    with own_project() as made:
        made.config(ALL)
        yield made


@pytest.mark.case("vagga-13")
def test_a_base_is_built_once_and_named_by_its_version(debian: ProjectFolder) -> None:
    assert "VERSION_CODENAME=bookworm" in debian.out("os")
    short = debian.out("_version_hash", "deb")[:8]
    assert os.readlink(debian.root / ".vagga/deb") == f".roots/deb.{short}/root"
    again = debian.run("_build", "deb")
    assert again.returncode == 0 and again.stderr == b""
    image = debian.image("deb")
    assert (image / "usr/sbin/policy-rc.d").exists()
    assert (image / "etc/resolv.conf").read_bytes() == b""
    assert (image.parent / "debian-packages.txt").stat().st_size > 1000
    epoch = json.loads((image.parent / "meta.json").read_bytes())["epoch"]
    assert max(p.lstat().st_mtime for p in image.rglob("*")) <= epoch


def test_a_second_project_takes_the_base_from_the_cache(debian: ProjectFolder, project: ProjectFolder) -> None:
    debian.out("_build", "deb")
    project.config(DEB)
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    result = project.run("_build", "deb", environ=offline)
    assert result.returncode == 0, result.stderr.decode()
    assert b"mmdebstrap" not in result.stderr
    assert project.out("_version_hash", "deb") == debian.out("_version_hash", "deb")


def test_a_second_distribution_is_refused(debian: ProjectFolder) -> None:
    result = debian.run("_build", "twice")
    assert result.returncode == 121
    assert "step 2/2 Debian trixie" in result.stderr.decode() and "one distribution" in result.stderr.decode()


@pytest.mark.case("vagga-26")
def test_build_dependencies_go_unless_wanted(debian: ProjectFolder) -> None:
    debian.out("_build", "with", "without")
    without = debian.image("without")
    assert (without / "answer").read_text() == "42\n"
    assert not (without / "usr/bin/bc").exists() and (debian.image("with") / "usr/bin/bc").exists()

    def listed(name: str) -> bool:
        lines = (debian.image(name).parent / "debian-packages.txt").read_text().splitlines()
        return any(line.startswith("ii  bc ") for line in lines)

    assert listed("with") and not listed("without")
    for leftover in ("var/lib/apt/lists", "var/cache/apt/archives", "tmp"):
        assert os.listdir(without / leftover) == [], leftover


def test_a_package_that_does_not_exist_fails_with_apts_own_words(debian: ProjectFolder) -> None:
    result = debian.run("_build", "no-package")
    assert result.returncode == 121
    assert "Unable to locate package no-such-package-at-all" in result.stderr.decode()


def test_installing_without_a_distribution_is_explained(debian: ProjectFolder) -> None:
    result = debian.run("_build", "no-distribution")
    assert result.returncode == 121
    assert "needs a distribution" in result.stderr.decode()


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_python_packages_are_there_and_their_installer_is_not(debian: ProjectFolder, installer: str) -> None:
    assert debian.out(f"py-{installer}") == "1.16.0\n"
    image = debian.image(f"py-{installer}")
    assert "six==1.16.0\n" in (image.parent / "pip3-freeze.txt").read_text()
    unwanted = ["-name", "pip", "-o", "-name", "uv"]
    assert subprocess.run(["find", image, *unwanted], capture_output=True, check=True).stdout == b""


def test_an_ordinary_user_builds_and_runs_without_privilege(users_project: ProjectFolder) -> None:
    project = users_project
    project.config(DEB)
    assert project.out("sh", "id -u; id -g; touch /work/made; grep -c . /proc/self/uid_map") == "0\n0\n2\n"
    entry = pwd.getpwnam(USER)
    assert (project.root / "made").stat().st_uid == entry.pw_uid
    image = project.image("deb")
    owners = {path.lstat().st_uid for path in (image / "usr/bin").iterdir()}
    assert owners == {entry.pw_uid}
    shadow = (image / "etc/shadow").stat()
    assert shadow.st_uid == entry.pw_uid and shadow.st_gid not in (0, entry.pw_gid)  # group shadow: a subordinate id
    assert project.out("_run", "-W", "deb", "sh", "-c", "echo x > /etc/made; cat /etc/made") == "x\n"
    project.out("_clean", "--everything")
    assert not (project.root / ".vagga/.layers").exists()


@pytest.mark.case("vagga-56")
def test_an_external_user_writes_as_the_caller(users_project: ProjectFolder) -> None:
    project = make_tiny(
        users_project,
        rest="""\
        commands:
          both: !Command { container: tiny, run: 'id -u; touch /work/caller', user-id: 1, external-user-id: 0 }
          one: !Command { container: tiny, run: 'id -u; touch /work/open/other', user-id: 1 }
        """,
    )
    opened = project.root / "open"
    opened.mkdir()
    opened.chmod(0o777)
    entry = pwd.getpwnam(USER)
    assert project.out("both") == "1\n"
    assert (project.root / "caller").stat().st_uid == entry.pw_uid
    assert project.out("one") == "1\n"
    first = int(
        next(line for line in Path("/etc/subuid").read_text().splitlines() if line.startswith(f"{USER}:")).split(":")[1]
    )
    assert (opened / "other").stat().st_uid == first


@pytest.mark.case("vagga-14")
def test_the_version_is_the_same_for_everybody(project: ProjectFolder, users_project: ProjectFolder) -> None:
    text = """\
        containers:
          c:
            environ: { A: b }
            setup:
            - !Debian bookworm
            - !Copy { source: /work/src, path: /src }
            - !Depends listed
    """
    for place in (project, users_project):
        place.config(text)
        place.write("src/data", "data")
        place.write("src/run", "run", mode=0o755)
        place.write("listed", "x")
    for name in ("src/data", "src/run", "src"):
        path = users_project.root / name
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1, 1))
    first = project.out("_version_hash", "c")
    assert users_project.out("_version_hash", "c") == first
    project.config(text.replace("A: b", "A: c").replace("containers:", "# comment\n        containers:"))
    assert project.out("_version_hash", "c") == first


@pytest.mark.case("vagga-57")
def test_without_subordinate_ids_one_id_is_enough_and_more_are_explained(
    users_project: ProjectFolder, tmp_path: Path
) -> None:
    """The files of subordinate ids are covered, for this call only, in a mount namespace of its own."""
    project = make_tiny(
        users_project,
        containers="one:\n  uids: [0]\n  gids: [0]\n  setup:\n  - !Text { /a: made }\n",
        rest="commands:\n  t: !Command { container: tiny, run: [true] }\n",
    )

    def with_files(text: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        covering = tmp_path / "subids"
        covering.write_text(text)
        script = f'mount --bind {covering} /etc/subuid; mount --bind {covering} /etc/subgid; exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *project.words(*words)],
            cwd=project.root,
            env=project.environment(),
            capture_output=True,
            check=False,
        )

    built = with_files("", "_build", "one")
    assert built.returncode == 0, built.stderr.decode()
    assert (project.image("one") / "a").read_text() == "made"
    for text, said in (
        ("", f"/etc/subuid has no line for {USER}; add `{USER}:100000:65536`"),
        (f"{USER}:100000:10\n", "too few ids in subuid: 65535 are wanted, 10 are available"),
        (f"{USER}:100000\n", "/etc/subuid:1:1: malformed line"),
        (f"# comment\n{USER}:{pwd.getpwnam(USER).pw_uid}:65536\n", "/etc/subuid:2:1: the range holds"),
    ):
        result = with_files(text, "t")
        assert result.returncode == 121, result.stderr.decode()
        assert said in result.stderr.decode()
    project.environ["PATH"] = str(tmp_path)
    result = project.run("t")
    assert result.returncode == 121
    assert "newgidmap" in result.stderr.decode() and "`uidmap`" in result.stderr.decode()


def test_a_project_of_the_user_can_be_removed_by_the_fixture(users_project: ProjectFolder) -> None:
    """Files of subordinate ids are no hindrance to root."""
    make_tiny(users_project).out("_build", "tiny")
    remove_tree(users_project.root / ".vagga")
    assert not (users_project.root / ".vagga").exists()
