"""Which runtime is chosen: candidates are scripts that behave like runtimes that work, or do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from manor.container import choice
from manor.container.choice import RuntimeNotFound, find_runtime
from manor.container.init import find_init
from manor.container.runtime_log import parse_last_message
from manor.kernel import process


class Installed:
    """A directory of programs in PATH, each counting how often it was asked to run a container."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cache = directory / "cache"
        (directory / "bin").mkdir()

    def put(self, name: str, *, refuses: str | None = None, version: str = "1.0") -> Path:
        log_line = json.dumps({"level": "error", "msg": refuses, "time": "x"})
        run = f"printf '%s\\n' '{log_line}' > \"$log\"; exit 1" if refuses else "exit 0"
        program = self.directory / "bin" / name
        program.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = --version ] && {{ echo "{name} version {version}"; echo "commit: x"; exit 0; }}\n'
            'while [ $# -gt 0 ]; do case "$1" in --log) log="$2";; run) command=run;; esac; shift; done\n'
            f'[ "$command" = run ] || exit 0\necho x >> {self.directory}/{name}.runs\n{run}\n'
        )
        program.chmod(0o755)
        return program

    def runs(self, name: str) -> int:
        file = self.directory / f"{name}.runs"
        return len(file.read_text().split()) if file.exists() else 0


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    here = Installed(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(choice, "MORE_DIRECTORIES", "")
    return here


def test_crun_is_preferred_where_it_works(installed: Installed) -> None:
    crun = installed.put("crun", version="1.8.1")
    installed.put("runc")
    found = find_runtime(cache_dir=installed.cache)
    assert (found.path, found.flavour, found.version) == (crun, "crun", "1.8.1")
    assert installed.runs("runc") == 0


def test_one_that_refuses_this_host_is_passed_over(installed: Installed) -> None:
    installed.put("crun", refuses="cgroups in hybrid mode not supported")
    installed.put("runc")
    assert find_runtime(cache_dir=installed.cache).flavour == "runc"


def test_the_result_is_remembered_for_the_boot_and_these_binaries(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.put("crun", refuses="no")
    installed.put("runc")
    first = find_runtime(cache_dir=installed.cache)
    assert find_runtime(cache_dir=installed.cache) == first
    assert (installed.runs("crun"), installed.runs("runc")) == (1, 1)

    crun = installed.put("crun")  # a new version is installed, and works
    os.utime(crun, ns=(1, 1))
    assert find_runtime(cache_dir=installed.cache).flavour == "crun"
    assert installed.runs("crun") == 2

    monkeypatch.setattr(process, "boot_id", lambda: "another boot")
    assert find_runtime(cache_dir=installed.cache).flavour == "crun"
    assert installed.runs("crun") == 3


def test_with_and_without_user_namespace_are_two_questions(installed: Installed) -> None:
    installed.put("runc")
    find_runtime(cache_dir=installed.cache)
    find_runtime(cache_dir=installed.cache, user_namespace=True)
    find_runtime(cache_dir=installed.cache, user_namespace=True)
    assert installed.runs("runc") == 2


def test_a_spoilt_or_unwritable_memory_costs_a_trial_and_nothing_else(installed: Installed) -> None:
    installed.put("runc")
    find_runtime(cache_dir=installed.cache)
    (kept,) = installed.cache.iterdir()
    kept.write_text("{")
    assert find_runtime(cache_dir=installed.cache).flavour == "runc"
    assert find_runtime(cache_dir=Path("/proc/no/such")).flavour == "runc"
    assert installed.runs("runc") == 3


def test_where_none_works_each_tells_why(installed: Installed) -> None:
    installed.put("crun", refuses="cgroups in hybrid mode not supported")
    installed.put("runc", refuses="operation not permitted")
    with pytest.raises(RuntimeNotFound) as caught:
        find_runtime(cache_dir=installed.cache)
    message = str(caught.value)
    assert caught.value.exit_status == 127
    assert "\n" not in message
    assert f"{installed.directory}/bin/crun: cgroups in hybrid mode not supported" in message
    assert f"{installed.directory}/bin/runc: operation not permitted" in message
    assert not installed.cache.exists()


def test_where_none_is_installed_the_packages_are_named(installed: Installed) -> None:
    with pytest.raises(RuntimeNotFound, match="install the package `crun` or `runc`; neither crun nor runc is inst"):
        find_runtime(cache_dir=installed.cache)
    with pytest.raises(RuntimeNotFound, match=r"oci-runtime `runc` was not found in .*; install the package `runc`"):
        find_runtime("runc", cache_dir=installed.cache)


def test_one_that_is_named_is_believed_and_asked_for_its_kind(installed: Installed) -> None:
    program = installed.put("crun", refuses="no")
    assert find_runtime("crun", cache_dir=installed.cache).path == program
    renamed = program.rename(installed.directory / "bin" / "my-runtime")
    assert find_runtime(str(renamed), cache_dir=installed.cache).flavour == "crun"
    assert installed.runs("crun") == 0


def test_a_wrong_choice_is_told_with_what_would_be_right(installed: Installed) -> None:
    with pytest.raises(RuntimeNotFound, match="oci-runtime `docker` is unknown; write `auto`, `crun`, `runc` or an"):
        find_runtime("docker", cache_dir=installed.cache)
    with pytest.raises(RuntimeNotFound, match="oci-runtime `/no/runc` is not an executable file"):
        find_runtime("/no/runc", cache_dir=installed.cache)
    with pytest.raises(RuntimeNotFound, match="/bin/true: `--version` names neither runc nor crun"):
        find_runtime("/bin/true", cache_dir=installed.cache)


AS_ORDINARY_USER = """
import os, sys
from pathlib import Path
from manor.container import choice
choice.OWN_INIT = Path(sys.argv[1])  # the project itself may lie where nobody else can read
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
print(choice.find_runtime(cache_dir=Path("/nonexistent"), user_namespace=True).flavour)
"""


def test_an_ordinary_user_finds_a_runtime_that_works_for_him() -> None:
    """The real runtimes of this host, tried by uid 65534 in a user namespace of its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        init = shutil.copy(find_init(), name)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [sys.executable, "-c", AS_ORDINARY_USER, init]
        result = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
    assert result.stdout.strip() in {"runc", "crun"}, result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", ""),
        (b'{"level":"error","msg":"first"}\n{"level":"error","msg":"second\\nline"}\n', "second line"),
        (b'{"level":"error","msg":"why"}\n{"level":"warning","msg":"by the way"}\n', "why"),
        (b'{"level":"debug","msg":"only this"}\n', "only this"),
        (b'cut off"}\n{"level":"info","msg":"bye"}\n', "bye"),
        (b'{"msg":"crun says no more","time":"x"}\n', "crun says no more"),
        (b"panic: runtime error\n", "panic: runtime error"),
    ],
)
def test_the_last_error_of_a_log_is_its_message(text: bytes, message: str) -> None:
    assert parse_last_message(text) == message
