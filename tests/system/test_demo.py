"""The main job, as a new user runs it: a site on three nodes by all four tools, used, changed, broken, taken down."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manor.cluster.demo import DIRECTORY, LABEL
from manor.kernel import cgroups, links, mounts

pytestmark = [pytest.mark.system, pytest.mark.alone("cluster")]

MANOR = str(Path(sys.executable).with_name("manor"))


def what_is_left() -> list[str]:
    """Links, mounts, control groups and processes of a demo on this machine."""
    found = [f"link {name}" for name in links.link_names() if name.startswith((f"mnr-{LABEL}", f"{LABEL}-"))]
    found += [f"mount {mount.target}" for mount in mounts.read_mounts() if mount.target.startswith(str(DIRECTORY))]
    for hierarchy in cgroups.layout().hierarchies:
        if (hierarchy / f"manor-{LABEL}").exists():
            found.append(f"group {hierarchy}/manor-{LABEL}")
    found += [f"process {pid}" for pid in cgroups.processes(f"/manor-{LABEL}", recursive=True)]
    return found


@pytest.mark.longest
@pytest.mark.timeout(840)
def test_the_tutorials_job_from_building_to_broken_networks() -> None:
    demo = subprocess.run(
        [MANOR, "demo", "--check"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800
    )
    assert demo.returncode == 0, demo.stdout[-6000:] + demo.stderr[-2000:]
    assert re.search(r"requests during the update, failed +\d{2,}, 0\n", demo.stdout), demo.stdout
    for figure in ("leader's verwalter killed", "killed: nginx asks it no more", "connected again: one leader"):
        assert figure in demo.stdout
    assert what_is_left() == []


@pytest.mark.timeout(400)
def test_a_demo_that_was_killed_is_taken_away_by_clean() -> None:
    with subprocess.Popen(
        [MANOR, "demo", "--nodes", "1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "The guest book answers" in line:
                break
        else:
            pytest.fail(f"the demo ended with {demo.wait()} before its site answered")
        assert len(what_is_left()) > 10
        demo.send_signal(signal.SIGKILL)
    clean = subprocess.run([MANOR, "demo", "--clean"], capture_output=True, text=True, timeout=120)
    assert (clean.returncode, clean.stdout) == (0, "taken away\n")
    assert what_is_left() == []
    again = subprocess.run([MANOR, "demo", "--clean"], capture_output=True, text=True, timeout=120)
    assert (again.returncode, again.stdout) == (0, "nothing was left\n")


@pytest.mark.parametrize(
    ("options", "error"),
    [(["--nodes", "0"], "0 is not within 1 to 30"), (["--nodes", "x"], "invalid int"), (["--chek"], "unrecognized")],
)
def test_a_wrong_option_is_one_line_and_status_2(options: list[str], error: str) -> None:
    refused = subprocess.run([MANOR, "demo", *options], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert error in refused.stderr.splitlines()[-1]
    assert what_is_left() == []
