"""`sandbox/*.yaml`: what the administrators of a node let templates do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from render_node import RenderNode

from manor.verwalter.render.errors import BadInput
from manor.verwalter.render.limits import is_below, read_limits


@pytest.fixture
def node(tmp_path: Path) -> RenderNode:
    node = RenderNode(tmp_path)
    node.template("t.j2", "content")
    return node


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("!Cmd [reboot, now]", "`reboot` is not in `allow-commands` of this node; allowed: `touch`"),
        ("!RootCommand [reboot]", "`reboot` is not in `allow-commands`"),
        ("!Cmd [/usr/bin/touch, x]", "`/usr/bin/touch` is not in `allow-commands`"),
        ('!Cmd ["{{ role }}"]', "`app` is not in `allow-commands`"),
        ("!Sh touch x", "`sh` is not in `allow-commands`"),
        ("!Condition {dirs-changed: [/etc], commands: [!Sh touch x]}", "`sh` is not in `allow-commands`"),
        ("!Copy {dest: /etc/passwd}", "/etc/passwd is not in `allow-paths` of this node; allowed: `/srv/*`"),
        ("!Copy {dest: /srv/x/../../etc/passwd}", "goes up by `..`"),
        ("!Copy {dest: relative/x}", "is relative"),
        ("!Copy {dest: /srv/x/}", "has no file name"),
    ],
)
def test_what_is_not_allowed_is_refused_before_the_first_command(
    node: RenderNode, command: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.limits("allow-commands: [touch]\nallow-paths: [/srv/*]")
    renderer = node.renderer(f"!Cmd [touch, {node.out}/first]", command)
    assert node.render() == 20
    errors = capsys.readouterr().err
    assert f"{renderer}:4:3: " in errors
    assert told in errors
    assert list(node.out.iterdir()) == []


def test_what_is_allowed_runs(node: RenderNode) -> None:
    node.limits(f"allow-commands: [touch, sh]\nallow-paths: [{node.place}/o*]")
    node.renderer(f"!Cmd [touch, {node.out}/a]", f"!Sh touch {node.out}/b", f"!Copy {{dest: {node.out}/c}}")
    assert node.render() == 0
    assert sorted(path.name for path in node.out.iterdir()) == ["a", "b", "c"]


def test_empty_lists_allow_nothing(node: RenderNode) -> None:
    node.limits("allow-commands: []")
    node.renderer("!Cmd ['true']")
    assert node.render() == 20


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("/srv/a", "/srv/*", True),
        ("/srv/a/b/c", "/srv/*", True),
        ("/srv", "/srv/*", False),
        ("/srv/.a", "/srv/*", False),
        ("/srv/.a", "/srv/.?", True),
        ("/srvx/a", "/srv", False),
        ("/srv/x/y/z.conf", "/srv/**/*.conf", True),
        ("/srv/z.conf", "/srv/**/*.conf", True),
        ("/srv/x/y/z.txt", "/srv/**/*.conf", False),
    ],
)
def test_patterns_of_paths(path: str, pattern: str, expected: bool) -> None:
    assert is_below(Path(path).parts, Path(pattern).parts) is expected


def test_files_are_merged_and_an_option_stands_in_one_of_them(node: RenderNode) -> None:
    node.limits("allow-commands: [a]", "1.yaml")
    node.limits("log-dirs: {nginx: /var/log/nginx}", "2.yaml")
    limits = read_limits(node.etc / "sandbox")
    assert (limits.allow_commands, limits.allow_paths, limits.log_dirs) == (("a",), None, {"nginx": "/var/log/nginx"})
    second = node.limits("allow-paths: [/x]\nallow-commands: [b]", "3.yaml")
    with pytest.raises(BadInput, match=rf"{second}:2:\d+: `allow-commands` stands in .*/1.yaml already"):
        read_limits(node.etc / "sandbox")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("allow-comands: [a]", "unknown option"),
        ("allow-paths: [relative]", "relative"),
        ("run-as: www-data", "`run-as` is not supported yet"),
        ("allow-commands: [a", "limits.yaml:"),
    ],
)
def test_bad_limits_are_status_3_with_the_position(
    node: RenderNode, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = node.limits(text)
    node.renderer(f"!Cmd [touch, {node.out}/ran]")
    assert node.render() == 3
    errors = capsys.readouterr().err
    assert f"{path}:1:" in errors or f"{path}:2:" in errors
    assert told in errors
    assert list(node.out.iterdir()) == []


class TestBySudo:
    """Whoever may run verwalter-render as root must not be able to lift the limits."""

    @pytest.fixture(autouse=True)
    def by_sudo(self, node: RenderNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUDO_UID", "1000")
        node.renderer("!Cmd ['true']")

    def test_limits_of_root_are_fine(self, node: RenderNode) -> None:
        node.limits("allow-commands: ['true']")
        assert node.render() == 0

    def test_a_directory_others_can_write_is_refused(
        self, node: RenderNode, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (node.etc / "sandbox").chmod(0o775)
        assert node.render() == 3
        assert f"{node.etc}/sandbox: writable for others than root" in capsys.readouterr().err

    def test_a_file_others_own_is_refused(self, node: RenderNode) -> None:
        os.chown(node.limits("allow-commands: ['true']"), 1000, 1000)
        assert node.render() == 3

    def test_a_link_to_some_empty_directory_of_root_is_refused(self, node: RenderNode) -> None:
        (node.etc / "sandbox").rmdir()
        (node.place / "empty").mkdir()
        (node.etc / "sandbox").symlink_to(node.place / "empty")
        assert node.render() == 3

    def test_a_directory_that_was_taken_away_is_refused(self, node: RenderNode) -> None:
        (node.etc / "sandbox").rmdir()
        assert node.render() == 0  # in a place of root's: there were no limits
        os.chown(node.etc, 1000, 1000)
        assert node.render() == 3


def test_without_sudo_a_missing_directory_means_no_limits(tmp_path: Path) -> None:
    assert read_limits(tmp_path / "missing").allow_commands is None


def test_start_up_does_not_load_what_rendering_does_not_need() -> None:
    code = "import sys, manor.verwalter.render.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncio", "numpy", "nacl", "rich"} & set(loaded)
