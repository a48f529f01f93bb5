"""Node reports: what lithos' files say, and what a leader accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manor.lithos.process_config import read_status
from manor.verwalter.reports import (
    BadReport,
    OwnState,
    Sandbox,
    accept_report,
    find_lithos,
    images_of,
    instances_of,
    machine_load,
    node_report,
)
from manor.verwalter.state_files import DeployedRole

STATUS = {
    "version": 1, "written": 1, "boot_id": "b", "master": 40,
    "instances": [{
        "name": "site/web-a.0", "image": "site.1", "config": "/config/web.yaml", "state": "ready", "since": 7,
        "pid": 41, "restarts": 2, "ports": {}, "address": None, "error": None,
    }],
}  # fmt: skip


@pytest.fixture
def lithos(tmp_path: Path) -> Path:
    """A master config with two sandboxes; images of the second have names of two components."""
    images = tmp_path / "images"
    for image in ("site/site.1", "site/site.2", "site/.tmp.site.3.abc", "tools/a/one", "tools/b/two"):
        (images / image).mkdir(parents=True)
    (images / "site/notes.txt").write_text("")
    (tmp_path / "sandboxes").mkdir()
    (tmp_path / "sandboxes/site.yaml").write_text(f"image-dir: {images}/site\n")
    (tmp_path / "sandboxes/tools.yaml").write_text(f"image-dir: {images}/tools\nimage-dir-levels: 2\n")
    (tmp_path / "sandboxes/broken.yaml").write_text("image-dir: [\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "master.yaml").write_text(f"runtime-dir: {tmp_path}/run\n")
    return tmp_path


def test_sandboxes_and_their_images_are_found_through_lithos_own_files(lithos: Path) -> None:
    here = find_lithos(lithos / "master.yaml")
    assert here is not None
    assert sorted(here.sandboxes) == ["site", "tools"]
    assert images_of(here.sandboxes["site"]) == ["site.1", "site.2"]
    assert images_of(here.sandboxes["tools"]) == ["a/one", "b/two"]
    assert images_of(Sandbox(lithos / "nothing", 1)) == []


def test_a_node_without_lithos_reports_no_instances(tmp_path: Path) -> None:
    assert find_lithos(tmp_path / "master.yaml") is None
    assert instances_of(None) is None


def test_instances_are_what_lithos_published(lithos: Path) -> None:
    here = find_lithos(lithos / "master.yaml")
    assert here is not None
    here.status_file.write_text(json.dumps(STATUS))
    assert instances_of(read_status(here.status_file)) == {
        "site/web-a.0": {"state": "ready", "since": 7, "restarts": 2, "image": "site.1", "error": None}
    }


def own_report() -> dict[str, Any]:
    deployed = {"site": DeployedRole(hash="91ab", ok=True, deployment="X" * 24, at=5)}
    own = OwnState(
        id="aa", hostname="alpha", schedule="6f0c", deployed=deployed, failed_roles=(), orphaned_roles=(), errors={}
    )
    return node_report(own, {"labels": {"zone": "a"}}, {"site": ["site.1"]}, {"site": {"site.2": 0.4}}, None, {}, 9)


def test_a_report_is_accepted_from_the_node_it_is_about() -> None:
    body = json.dumps(own_report()).encode()
    accepted = accept_report(body, signer="aa")
    assert accepted["sandboxes"] == {"site": {"images": ["site.1"], "incoming": {"site.2": 0.4}}}
    assert accepted["deployed"] == {"site": {"hash": "91ab", "ok": True, "deployment": "X" * 24, "at": 5}}
    assert accept_report(body, signer=None) == accepted
    with pytest.raises(BadReport, match="node report of aa was signed by bb"):
        accept_report(body, signer="bb")


@pytest.mark.parametrize("body", [b"", b"[1]", b"{}", b'{"id": 5, "hostname": "a", "at": 1}', b'{"id": "aa", "at": 1}'])
def test_nonsense_is_no_report(body: bytes) -> None:
    with pytest.raises(BadReport):
        accept_report(body, signer=None)


def test_the_load_of_this_machine_is_known() -> None:
    found = machine_load()
    assert found["cpu"] >= 0
    assert found["memory_used"] > 0
