"""What a render file can ask for: `!Copy`, `!Condition`, and what is not there yet."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from render_node import RenderNode

from manor.verwalter.render.commands.copy import Copy
from manor.verwalter.render.task import Task


@pytest.fixture
def node(tmp_path: Path) -> RenderNode:
    node = RenderNode(tmp_path)
    node.template("t.j2", "{{ text | default('content') }}")
    return node


@pytest.mark.parametrize(
    ("option", "mode"),
    [("", 0o644), (", mode: 0600", 0o600), (", mode: 755", 0o755), (', mode: "0640"', 0o640), (", mode: 0o755", 0o755)],
)
def test_copy_sets_the_mode_and_digits_are_octal(node: RenderNode, option: str, mode: int) -> None:
    node.renderer(f"!Copy {{dest: {node.out}/a{option}}}")
    before = os.umask(0o077)
    try:
        assert node.render() == 0
    finally:
        os.umask(before)
    assert (node.out / "a").stat().st_mode & 0o7777 == mode


def test_copy_writes_nothing_where_content_and_mode_are_equal(node: RenderNode) -> None:
    node.renderer(f"!Copy {{target: {node.out}/a}}")
    assert node.render() == 0
    inode = (node.out / "a").stat().st_ino
    assert node.render() == 0
    assert (node.out / "a").stat().st_ino == inode
    assert "\nunchanged\n" in node.role_log
    (node.out / "a").chmod(0o600)
    assert node.render() == 0
    assert (node.out / "a").stat().st_mode & 0o777 == 0o644


def test_copy_replaces_a_link_and_not_what_it_points_to(node: RenderNode) -> None:
    (node.place / "precious").write_text("precious")
    (node.out / "a").symlink_to(node.place / "precious")
    node.renderer(f"!Copy {{dest: {node.out}/a}}")
    assert node.render() == 0
    assert (node.place / "precious").read_text() == "precious"
    assert (node.out / "a").read_text() == "content"


@pytest.mark.parametrize(
    ("dest", "told"), [("out", "Is a directory"), ("nowhere/a", "the directory it goes to is missing")]
)
def test_copy_needs_a_place(node: RenderNode, dest: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    node.renderer(f"!Copy {{dest: {node.place}/{dest}}}")
    assert node.render() == 20
    assert f"`!Copy` to {node.place}/{dest}: {told}" in capsys.readouterr().err


def test_copy_of_several_templates_needs_a_source(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.template("u.j2", "other")
    node.renderer(f"!Copy {{dest: {node.out}/a}}", templates="{t: t.j2, u: u.j2}")
    assert node.render() == 10
    assert "`{{ tmp_file }}` is unknown" in capsys.readouterr().err
    node.renderer(f'!Copy {{src: "{{{{templates.u}}}}", dest: {node.out}/a}}', templates="{t: t.j2, u: u.j2}")
    assert node.render() == 0
    assert (node.out / "a").read_text() == "other"


@pytest.mark.case("verwalter-29")
def test_copy_killed_at_any_step_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    old, new = b"old" * 50_000, b"new" * 60_000
    source, dest = tmp_path / "source", tmp_path / "place/dest"
    dest.parent.mkdir()
    source.write_bytes(new)
    task = Task(role="app", deployment="d", names={}, directory=tmp_path, dry_run=False, say=lambda _text: None,
                output=2, timeout_s=1.0, changed=lambda _directory: False)  # fmt: skip
    copy = Copy(src=str(source), dest=str(dest))
    seen, step, killed = set(), 0, True
    while killed:
        dest.write_bytes(old)
        dest.chmod(0o644)
        killed = killed_at_step(step, lambda: copy.execute(task))
        content = dest.read_bytes()
        assert content in (old, new), f"mixed after step {step}"
        assert dest.stat().st_mode & 0o777 == 0o644
        seen.add(content)
        step += 1
    assert seen == {old, new}
    assert step > 50  # so many calls and returns there are in one copy
    assert list(dest.parent.iterdir()) == [dest]  # the last one cleaned up after the killed ones


def killed_at_step(step: int, action: Callable[[], None]) -> bool:
    """Run it in a child that kills itself at this call or return of a function; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def count(_frame: FrameType, _event: str, _argument: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            action()
        finally:
            sys.setprofile(None)
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.case("verwalter-32")
def test_a_condition_runs_its_commands_only_if_the_directory_changed(node: RenderNode) -> None:
    node.renderer(
        f"!Copy {{dest: {node.out}/a}}",
        f"!Condition {{dirs-changed: [{node.out}], commands: [!Sh echo ran >> {node.place}/ran]}}",
    )
    assert node.render(text="one") == 0
    assert (node.place / "ran").read_text() == "ran\n"
    assert node.render(text="one") == 0
    assert (node.place / "ran").read_text() == "ran\n"
    assert "Condition: {dirs-changed: " in node.role_log
    assert "unchanged\n" in node.role_log
    assert node.render(text="two") == 0
    assert (node.place / "ran").read_text() == "ran\nran\n"


def test_a_directory_that_appears_or_vanishes_has_changed(node: RenderNode) -> None:
    directory = node.out / "d"
    condition = f"!Condition {{dirs-changed: [{directory}], commands: [!Sh echo ran >> {node.place}/ran]}}"
    node.renderer(f"!Sh mkdir {directory}", condition)
    assert node.render() == 0
    node.renderer(f"!Sh rmdir {directory}", condition)
    assert node.render() == 0
    node.renderer("!Sh 'true'", condition)
    assert node.render() == 0
    assert (node.place / "ran").read_text() == "ran\n" * 2


def test_the_directory_of_a_condition_may_be_a_link_and_its_name_is_expanded(node: RenderNode) -> None:
    (node.place / "app").symlink_to(node.out)
    node.renderer(
        f"!Sh touch {node.out}/a",
        f'!Condition {{dirs-changed: ["{node.place}/{{{{ role }}}}"], commands: [!Sh touch {node.place}/ran]}}',
    )
    assert node.render() == 0
    assert (node.place / "ran").exists()


def test_a_directory_that_cannot_be_watched_is_status_20(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(node.out / "pipe")
    node.renderer(f"!Sh touch {node.place}/ran", f"!Condition {{dirs-changed: [{node.out}], commands: []}}")
    assert node.render() == 20
    assert f"`dirs-changed`: {node.out} cannot be read" in capsys.readouterr().err
    assert not (node.place / "ran").exists()


def test_a_failing_inner_command_is_status_20(node: RenderNode) -> None:
    node.renderer(f"!Sh touch {node.out}/a", f"!Condition {{dirs-changed: [{node.out}], commands: [!Sh 'false']}}")
    assert node.render() == 20


def test_a_dry_run_prints_the_inner_commands_as_possible(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.renderer(f"!Condition {{dirs-changed: [{node.out}], commands: [!Sh echo hello]}}")
    assert node.render("--dry-run") == 0
    printed = capsys.readouterr().out
    assert f"(dry_run) Condition {{dirs-changed: ['{node.out}']}}, then possibly:\n(dry_run) Sh echo hello\n" in printed


@pytest.mark.parametrize("tag", ["SplitText", "CleanFiles", "PeekLog"])
def test_commands_that_are_not_there_yet_say_so(node: RenderNode, tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    renderer = node.renderer(f"!Cmd [touch, {node.out}/ran]", f"!{tag} x")
    assert node.render() == 10
    errors = capsys.readouterr().err
    assert f"{renderer}:4:3: " in errors
    assert f"`!{tag}` is not supported yet" in errors
    assert list(node.out.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("!Cpy {dest: /x}", "did you mean `!Copy`?"),
        ("!Cmd []", "commands[1]"),
        ("!Copy {src: x}", "`dest` is required"),
        ("!Copy {dest: /x, target: /y}", "`dest` is required, once"),
        ("!Copy {dest: /x, mood: 1}", "mood"),
        ("!Condition {dirs-changed: [/x], commands: [!Condition {dirs-changed: [/y], commands: []}]}", "Condition"),
    ],
)
def test_bad_render_files_are_status_10_with_the_position(
    node: RenderNode, command: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    renderer = node.renderer(f"!Cmd [touch, {node.out}/ran]", command)
    assert node.render() == 10
    errors = capsys.readouterr().err
    assert f"{renderer}:4:" in errors
    assert told in errors
    assert list(node.out.iterdir()) == []


def test_a_render_file_that_names_no_template_says_where(node: RenderNode, capsys: pytest.CaptureFixture[str]) -> None:
    renderer = node.renderer("!Cmd ['true']", templates="{t: tt.j2}")
    assert node.render() == 10
    assert f"{renderer}:1:16: no template `tt.j2` here; templates end in `.j2`" in capsys.readouterr().err
