"""The role's log and the index that points into it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from render_node import DEPLOYMENT, RenderNode

from manor.verwalter.deployment_log import DeploymentLog


@pytest.fixture
def node(tmp_path: Path) -> RenderNode:
    node = RenderNode(tmp_path)
    node.template("t.j2", "content\n")
    return node


def index(node: RenderNode) -> list[list[Any]]:
    return [json.loads(line) for line in (node.log / ".index/latest").read_text().splitlines()]


@pytest.mark.case("verwalter-38")
def test_every_offset_of_the_index_points_at_the_marker_it_names(node: RenderNode) -> None:
    node.renderer("!Sh echo some output; echo ünd more >&2", name="a.render.yaml")
    node.renderer("!Cmd ['true']", name="b.render.yaml")
    notes = DeploymentLog(node.log, DEPLOYMENT)
    with notes.open_role("app") as log:  # as the daemon does
        notes.mark_role(log, "app", "RoleStart")
        assert node.render() == 0
        notes.mark_role(log, "app", "RoleFinish")
    markers = []
    for _time, deployment, pointer, marker in index(node):
        role, segment, offset = pointer["fields"]
        assert (pointer["variant"], role, deployment) == ("Role", "app", DEPLOYMENT)
        name = marker if isinstance(marker, str) else f"{marker['variant']} {marker['fields'][0]}"
        line = (node.log / f"app/log.{segment}.txt").read_bytes()[offset:].split(b"\n")[0].decode()
        assert line.endswith(f" {DEPLOYMENT} ------------ app: {name} -----------")
        markers.append(name)
    assert markers == [
        "RoleStart", "ActionStart a.render.yaml", "ActionFinish a.render.yaml",
        "ActionStart b.render.yaml", "ActionFinish b.render.yaml", "RoleFinish",
    ]  # fmt: skip


def test_the_log_holds_files_commands_and_their_output_in_order(node: RenderNode) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a}}", "!Sh echo hello")
    assert node.render() == 0
    expected = [
        '+++ template start: "t.j2" -> "t" +++', "content", '+++ template end: "t.j2" -> "t" +++',
        "Copy {src: ", "Sh echo hello", "+ echo hello", "hello",
    ]  # fmt: skip
    lines = iter(node.role_log.splitlines())
    for beginning in expected:
        assert any(line.startswith(beginning) for line in lines), f"{beginning} is missing in {node.role_log}"


def test_a_secret_is_in_its_file_and_in_no_log(node: RenderNode) -> None:
    node.template("password.secret.j2", "hunter2")
    node.renderer(f"!Copy {{dest: {node.out}/a, mode: 600}}", templates="{p: password.secret.j2}")
    assert node.render() == 0
    assert (node.out / "a").read_text() == "hunter2"
    log = node.role_log
    assert "hunter2" not in log
    assert "(7 bytes, SHA-256 f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7)" in log


def test_an_error_stands_in_the_log_once_although_the_daemon_adds_stderr_to_it(node: RenderNode) -> None:
    node.renderer("!Cmd ['false']")
    options = [json.dumps(node.variables()), "--config-dir", str(node.etc), "--log-dir", str(node.log)]
    with DeploymentLog(node.log, DEPLOYMENT).open_role("app") as log:
        program = [sys.executable, "-m", "manor.verwalter.render.command", *options]
        assert subprocess.run(program, stdout=log.descriptor, stderr=log.descriptor, check=False).returncode == 20
    assert node.role_log.count("`false`: exit status 1") == 1
