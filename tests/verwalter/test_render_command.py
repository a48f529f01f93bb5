"""`verwalter-render` as its callers see it: exit statuses, dry runs, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from render_node import RenderNode

from manor.verwalter.render.command import main


@pytest.fixture
def node(tmp_path: Path) -> RenderNode:
    node = RenderNode(tmp_path)
    node.template("t.j2", "{{ role }} on {{ node }}\n")
    return node


def test_templates_are_rendered_and_commands_run_in_order(node: RenderNode) -> None:
    node.template("deep/b.j2", "{{ full_schedule.roles.app.version }}")
    node.template("deep/b.render.yaml", f"templates: {{b: b.j2}}\ncommands: [!Copy {{dest: {node.out}/b}}]")
    node.renderer(f"!Copy {{dest: {node.out}/a}}", f"!Sh cat {node.out}/a > {node.out}/c; test ! -e {node.out}/b")
    data = {"roles": {"app": {"version": "v1.2"}}}
    assert node.render("--schedule", json.dumps({"hash": "6f0c", "data": data})) == 0
    assert (node.out / "a").read_text() == (node.out / "c").read_text() == "app on alpha\n"
    assert (node.out / "b").read_text() == "v1.2"


@pytest.mark.case("verwalter-28")
def test_variables_that_cannot_be_used_have_statuses_of_their_own(node: RenderNode) -> None:
    node.renderer(f"!Cmd [touch, {node.out}/ran]")
    assert node.render(template=None) == 4
    assert node.render(template="../x") == 4
    assert node.render(verwalter_version="v0.0.1") == 5
    assert node.render(role=None) == 3
    assert not (node.out / "ran").exists()
    assert not node.log.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["[1]"], "no JSON object"),
        (["{"], "no JSON"),
        ([], "--vars-file"),
        (["--vars-file", "/nowhere/x.json"], "/nowhere/x.json: No such file"),
        (['{"role": "../x"}', "-C", "/"], "bad role name"),
        (["{}", "--schedule", "3"], "the schedule are no JSON object"),
    ],
)
def test_bad_input_is_one_line_and_status_3(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 3
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_the_variables_file_wins(node: RenderNode) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a}}")
    file = node.place / "vars.json"
    file.write_text(json.dumps(node.variables(node="beta")))
    assert node.render("--vars-file", str(file)) == 0
    assert (node.out / "a").read_text() == "app on beta\n"


@pytest.mark.case("verwalter-27")
def test_a_template_with_an_undefined_name_stops_everything(
    node: RenderNode, capsys: pytest.CaptureFixture[str]
) -> None:
    template = node.template("u.j2", "first line\n{{ nope }}\n")
    node.renderer(f"!Cmd [touch, {node.out}/first]")
    node.renderer(f"!Cmd [touch, {node.out}/other]", templates="{u: u.j2}", name="b.render.yaml")
    assert node.render() == 10
    assert f"{template}:2:1: 'nope' is undefined" in capsys.readouterr().err
    template.unlink()

    renderer = node.renderer(f"!Cmd [touch, {node.out}/first]", '!Cmd [echo, "{{ nope }}"]')
    (node.templates / "b.render.yaml").unlink()
    assert node.render() == 10
    errors = capsys.readouterr().err
    assert f"{renderer}:4:3: `{{{{ nope }}}}` is unknown; known are `deployment_id`, `files.t`" in errors
    assert list(node.out.iterdir()) == []


def test_a_failing_command_is_status_20_and_those_after_it_do_not_run(node: RenderNode) -> None:
    node.renderer(f"!Cmd [touch, {node.out}/first]", '!Cmd [sh, -c, "exit 3"]', f"!Cmd [touch, {node.out}/third]")
    assert node.render() == 20
    assert [path.name for path in node.out.iterdir()] == ["first"]
    assert "ERROR: `sh -c exit 3`: exit status 3" in node.role_log


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("!Cmd [/no/such/program]", "`/no/such/program`: No such file or directory"),
        ("!Sh kill -9 $$", "killed by signal 9"),
        ("!Sh 'false; true'", "exit status 1"),
        ('!Cmd [echo, "a\\0b"]', "embedded null byte"),
    ],
)
def test_every_way_to_fail_is_told(
    node: RenderNode, command: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.renderer(command)
    assert node.render() == 20
    assert told in capsys.readouterr().err


def test_a_command_that_takes_too_long_is_ended_with_its_children(node: RenderNode) -> None:
    (node.etc / "verwalter.yaml").write_text("render: {command-timeout: 300ms}")
    node.renderer(f"!Sh sleep 1000 & echo $! > {node.out}/child; wait")
    assert node.render() == 20
    assert "still running after 0.3 s, killed" in node.role_log
    wait_until_gone(int((node.out / "child").read_text()))


def test_commands_get_a_clean_environment_and_the_directory_of_their_render_file(
    node: RenderNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    node.renderer(f"!Sh env > {node.out}/env; pwd > {node.out}/pwd; cat > {node.out}/stdin")
    assert node.render() == 0
    environment = dict(line.split("=", 1) for line in (node.out / "env").read_text().splitlines())
    assert environment.keys() - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH", "LANG", "HOME", "VERWALTER_ROLE", "VERWALTER_DEPLOYMENT_ID"
    }  # fmt: skip
    assert environment["VERWALTER_ROLE"] == "app"
    assert (node.out / "pwd").read_text() == f"{node.templates}\n"
    assert (node.out / "stdin").read_text() == ""


@pytest.mark.case("verwalter-37")
def test_check_prints_files_and_commands_and_writes_nothing(
    node: RenderNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a}}", f"!RootCommand [touch, {node.out}/b]", f"!Sh touch {node.out}/c")
    before = sorted(node.place.rglob("*"))
    monkeypatch.chdir(node.templates.parent)
    assert main(["-C", "v1", '{"role": "x", "node": "beta"}', "--log-dir", str(node.log)]) == 0
    printed = capsys.readouterr().out
    assert '+++ template start: "t.j2" -> "t" +++\nx on beta\n+++ template end: "t.j2" -> "t" +++' in printed
    assert f"(dry_run) RootCommand ['touch', '{node.out}/b']" in printed
    assert f"(dry_run) Sh touch {node.out}/c" in printed
    assert sorted(node.place.rglob("*")) == before


def test_a_dry_run_prints_what_the_index_would_say(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a}}")
    assert node.render("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0])[2:] == [
        {"variant": "Role", "fields": ["app", "dry-run", 0]},
        {"variant": "ActionStart", "fields": ["a.render.yaml"]},
    ]
    assert not node.log.exists()
    assert list(node.out.iterdir()) == []


def test_show_prints_rendered_files_of_a_real_run_too(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a}}")
    assert node.render("--show") == 0
    assert "app on alpha" in capsys.readouterr().out
    assert "app on alpha" in node.role_log


def test_a_log_that_cannot_be_written_is_status_81_and_the_role_is_rendered(
    node: RenderNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.log.write_text("not a directory")
    node.renderer(f"!Sh echo hello; touch {node.out}/a")
    assert node.render() == 81
    assert (node.out / "a").exists()
    errors = capfd.readouterr().err
    assert "hello" in errors  # what the log would have had
    assert "Not a directory; the role itself is rendered" in errors


def test_told_to_end_it_takes_its_private_files_and_its_command_along(node: RenderNode) -> None:
    node.template("t.j2", "secret")
    node.renderer(
        f'!Sh ls -d "$(dirname {{{{ tmp_file }}}})/.." > {node.out}/private; echo $$ > {node.out}/pid; sleep 99'
    )
    options = [json.dumps(node.variables()), "--config-dir", str(node.etc), "--log-dir", str(node.log)]
    program = [sys.executable, "-m", "manor.verwalter.render.command", *options]
    with subprocess.Popen(program, env=os.environ | {"TMPDIR": str(node.place)}) as renderer:
        wait_for_text(node.out / "pid")
        private = Path((node.out / "private").read_text().strip()).parent
        assert private.stat().st_mode & 0o777 == 0o700
        renderer.send_signal(signal.SIGTERM)
        assert renderer.wait(10) == 128 + signal.SIGTERM
    assert not private.exists()
    wait_until_gone(int((node.out / "pid").read_text()))


def test_removal_has_render_files_of_its_own(node: RenderNode) -> None:
    node.renderer(f"!Cmd [touch, {node.out}/rendered]")
    node.renderer(f"!Cmd [touch, {node.out}/removed]", name="x.remove.yaml")
    assert node.render(removed=True) == 0
    assert [path.name for path in node.out.iterdir()] == ["removed"]


def test_a_directory_without_render_file_and_a_missing_one_are_status_10(
    node: RenderNode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.render() == 10
    assert "no `*.render.yaml`; a template directory has at least one" in capsys.readouterr().err
    assert node.render(template="app/v2") == 10
    assert "app/v2: no such template directory" in capsys.readouterr().err


def wait_for_text(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)
