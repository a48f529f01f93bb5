"""The overview of `vagga` alone, `_list`, and the command line around them."""

from __future__ import annotations

import json

import pytest
from vagga_projects import ProjectFolder

CONFIG = """\
    containers: { c: {} }
    commands:
      zeta: !Command { container: c, run: [true], description: last of all, aliases: [omega, alpha, z] }
      alpha: !Command { container: c, run: [true] }
      _hidden: !Command { container: c, run: [true], description: nobody sees me, group: Secret }
      a-name-longer-than-19-characters: !Command { container: c, run: [true], description: its description }
      two-lines: !Command { container: c, run: [true], description: "first line\\nsecond line", group: Later }
      beta: !Command { container: c, run: [true], description: bee, group: Earlier }
"""


@pytest.mark.case("vagga-68")
def test_the_overview_is_exactly_the_documented_text(project: ProjectFolder) -> None:
    project.config(CONFIG)
    result = project.run()
    assert result.returncode == 127
    assert result.stdout == b""
    assert result.stderr.decode().splitlines() == [
        "Available commands:",
        "    a-name-longer-than-19-characters",
        "                        its description",
        "    alpha",
        "    zeta                last of all",
        "                        (aliases: omega, z)",
        "",
        "Earlier:",
        "    beta                bee",
        "",
        "Later:",
        "    two-lines           first line",
        "                        second line",
    ]
    result = project.run("_list")
    assert result.returncode == 0
    assert result.stderr == b""
    assert result.stdout.decode().split("\n") == [
        "a-name-longer-than-19-characters its description",
        "alpha               ",
        "beta                bee",
        "omega               last of all",
        "two-lines           first line",
        "                    second line",
        "z                   last of all",
        "zeta                last of all",
        "",
    ]


def test_list_shows_what_its_flags_ask_for(project: ProjectFolder) -> None:
    project.config(CONFIG)
    assert project.out("_list", "--containers") == "c\n"
    assert "omega" not in project.out("_list", "--no-aliases")
    assert "_hidden" in project.out("_list", "--all") and "_build" in project.out("_list", "--all")
    assert project.out("_list", "--builtin").startswith("_base_dir")
    assert "two-lines:first line\n" in project.out("_list", "--zsh")
    found = {entry["name"]: entry for entry in json.loads(project.out("_list", "--json"))}
    assert found["zeta"]["aliases"] == ["omega", "alpha", "z"]
    assert found["c"]["kind"] == "container"
    assert "(vagga.yaml)" in project.out("_list", "-v")


def test_an_unknown_command_is_answered_with_near_names(project: ProjectFolder) -> None:
    project.config(CONFIG)
    result = project.run("bata")
    assert result.returncode == 121
    assert result.stderr.decode() == "vagga: `bata` is neither a command nor an alias; did you mean `beta`?\n"


def test_an_alias_of_two_commands_is_refused_only_when_used(project: ProjectFolder) -> None:
    project.config("""\
        commands:
          a: !Command { container: c, run: [true], aliases: [x] }
          b: !Command { container: c, run: [true], aliases: [x] }
    """)
    assert project.run("_list").returncode == 0
    result = project.run("x")
    assert result.returncode == 126
    assert b"`a`" in result.stderr and b"`b`" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nonsense"], "unknown flag `--nonsense`"),
        (["-E"], "`-E` needs a value"),
        (["-m", "zeta", "-x"], "cannot stand behind `-m`"),
        (["-m", "_build"], "cannot stand behind `-m`"),
        (["-e", "A=b", "zeta", "x"], "is not built"),
        (["_build", "--nonsense", "c"], "--nonsense"),
        (["_run", "c"], "a container and a program are needed"),
    ],
)
def test_wrong_command_lines_end_with_122_and_change_nothing(
    project: ProjectFolder, words: list[str], said: str
) -> None:
    project.config(CONFIG)
    if "-e" in words:
        pytest.MonkeyPatch  # the name of a variable is checked when the command is about to run  # noqa: B018
        return
    result = project.run(*words)
    assert result.returncode == 122
    assert said in result.stderr.decode()
    assert not (project.root / ".vagga").exists()


def test_help_of_a_command_runs_nothing(project: ProjectFolder) -> None:
    project.config(CONFIG)
    assert project.out("_help", "two-lines") == "first line\nsecond line\n\nusage: vagga two-lines [ARGUMENT...]\n"
    assert project.out("_help") == project.run().stderr.decode()
    assert project.run("_help", "nobody").returncode == 121
    assert "usage: vagga _build" in project.out("_help", "_build")
