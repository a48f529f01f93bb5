"""Finding and reading vagga.yaml: errors with their places, mixins, local files, settings, the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from vagga_projects import ProjectFolder

from manor.vagga.minimum_version import is_at_least


@pytest.mark.case("vagga-01")
def test_the_root_is_found_from_below_and_the_way_to_it_told(project: ProjectFolder) -> None:
    project.config("commands: {}\n")
    (project.root / "a/b").mkdir(parents=True)
    assert project.out("_base_dir", at="a/b") == f"{project.root}\n"
    assert project.out("_relative_work_dir", at="a/b") == "a/b\n"
    assert project.out("_relative_work_dir") == "\n"


@pytest.mark.case("vagga-02")
def test_without_a_project_the_start_is_named_and_the_version_still_told(project: ProjectFolder) -> None:
    (project.root / "deep").mkdir()
    result = project.run("x", at="deep")
    assert result.returncode == 126
    assert str(project.root / "deep") in result.stderr.decode()
    assert "vagga.yaml" in result.stderr.decode()
    assert project.out("--version").startswith("vagga 0.9.0 (manor ")
    assert "usage: vagga" in project.out("--help")


@pytest.mark.case("vagga-03")
def test_every_mistake_is_told_with_its_own_place(project: ProjectFolder) -> None:
    project.config("""\
        containers:
          c:
            setup:
            - !Instal [a]
            - !Depends /absolute
            enviro: {}
            volumes:
              relative: !Tmpfs
        commands:
          a: !Command
            container: c
    """)
    result = project.run("_list")
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 126
    assert any(line.startswith("vagga.yaml:4:7: unknown tag `!Instal`; did you mean `!Install`?") for line in lines)
    assert any(line.startswith("vagga.yaml:5:") and "absolute" in line for line in lines)
    assert any(line.startswith("vagga.yaml:6:5: unknown option `enviro`; did you mean `environ`?") for line in lines)
    assert any(line.startswith("vagga.yaml:8:7: ") and "relative" in line for line in lines)
    assert any(line.startswith("vagga.yaml:10:") and "`run` is required" in line for line in lines)


def test_what_this_version_cannot_do_yet_is_said_with_its_place(project: ProjectFolder) -> None:
    project.config("""\
        containers:
          c:
            setup:
            - !Alpine v3.19
            data-dirs: [/x]
            volumes: { /v: !Snapshot }
        commands:
          s: !Supervise
            children: {}
    """)
    result = project.run("_list")
    told = result.stderr.decode()
    assert result.returncode == 126
    for line, what in ((4, "`!Alpine`"), (5, "`data-dirs`"), (6, "`!Snapshot`"), (8, "`!Supervise`")):
        assert any(
            t.startswith(f"vagga.yaml:{line}:") and f"{what} is not supported yet" in t for t in told.splitlines()
        )


def test_a_tab_in_the_indentation_is_one_clear_line(project: ProjectFolder) -> None:
    project.config("containers:\n\tc: {}\n")
    result = project.run("_list")
    assert result.returncode == 126
    assert result.stderr.decode().startswith("vagga.yaml:2:1: ")
    assert result.stderr.count(b"\n") == 1


@pytest.mark.case("vagga-05")
def test_integers_take_units_and_bases_and_bare_octal_is_refused(project: ProjectFolder) -> None:
    project.config("""\
        containers:
          c:
            volumes:
              /a: !Tmpfs { size: 10 Mi, mode: 0o700 }
              /b: !Tmpfs { size: 0x10 }
              /c: !Tmpfs { size: 1_000 }
    """)
    dumped = project.out("_dump_config")
    for piece in ('"size":10485760,"mode":448', '"size":16,', '"size":1000,'):
        assert piece in dumped
    project.config("containers: { c: { volumes: { /a: !Tmpfs { mode: 0755 } } } }\n")
    result = project.run("_list")
    assert result.returncode == 126
    assert b"0o755" in result.stderr


@pytest.mark.case("vagga-06")
def test_merges_and_includes_make_one_document(project: ProjectFolder) -> None:
    project.write("inc/env.yaml", "C: included\nD: included\n")
    project.write("inc/steps/1.yaml", "!Sh one\n")
    project.write("inc/steps/2.yaml", "!Sh two\n")
    project.config("""\
        _anchors: { _a: &a { A: 1, C: first }, _b: &b { A: 2, B: 2 } }
        containers:
          c:
            environ: { <<: [*a, *b, !*Include inc/env.yaml], E: own }
            setup:
            - !Sh zero
            - !*Unpack [!*IncludeSeq "inc/steps/*.yaml"]
    """)
    dumped = project.out("_dump_config")
    for piece in ('"A":"1"', '"B":"2"', '"C":"first"', '"D":"included"', '"E":"own"'):
        assert piece in dumped
    assert dumped.index("zero") < dumped.index("one") < dumped.index("two")
    project.write("inc/steps/2.yaml", "\n!Shh two\n")
    result = project.run("_list")
    assert result.returncode == 126
    assert result.stderr.decode().startswith("inc/steps/2.yaml:2:1: unknown tag `!Shh`")


@pytest.mark.case("vagga-07")
def test_a_bomb_of_aliases_and_an_endless_include_end_soon(project: ProjectFolder) -> None:
    levels = "\n".join(f"_l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    project.write("vagga.yaml", f"_l0: &l0 [x]\n{levels}\ncontainers: {{}}\n")
    started = time.monotonic()
    assert project.run("_list").returncode == 126
    project.config("containers: !*Include vagga.yaml\n")
    assert project.run("_list").returncode == 126
    assert time.monotonic() - started < 60  # bounded; how fast is a benchmark's matter


@pytest.mark.case("vagga-08")
def test_mixins_and_local_files_have_their_order(project: ProjectFolder) -> None:
    def command(text: str) -> str:
        return f"!Command {{ container: c, run: [true], description: {text} }}"

    project.config(f"""\
        mixins: [one.yaml, two.yaml, broken.yaml]
        commands: {{ main: {command("main")}, local: {command("main")} }}
    """)
    project.write(
        "one.yaml", f"commands: {{ main: {command('one')}, both: {command('one')}, only1: {command('one')} }}\n"
    )
    project.write(
        "two.yaml", f"mixins: [sub/deep.yaml]\ncommands: {{ both: {command('two')}, over: {command('two')} }}\n"
    )
    project.write("sub/deep.yaml", f"mixins: [../no]\ncommands: {{ over: {command('deep')} }}\n")
    project.write("sub/deep.yaml", f"commands: {{ over: {command('deep')}, deep: {command('deep')} }}\n")
    project.write("broken.yaml", "commands: { x: !Nonsense }\n")
    project.write("vagga.local.yaml", f"commands: {{ local: {command('weak')} }}\n")
    project.write(".vagga.local.yaml", f"commands: {{ local: {command('strong')} }}\n")
    result = project.run("_list", "-v")
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.decode().splitlines()}
    assert lines == {
        "main": ["main", "(vagga.yaml)"],
        "local": ["strong", "(.vagga.local.yaml)"],
        "both": ["two", "(two.yaml)"],
        "only1": ["one", "(one.yaml)"],
        "over": ["two", "(two.yaml)"],
        "deep": ["deep", "(sub/deep.yaml)"],
    }
    warnings = [line for line in result.stderr.decode().splitlines() if "broken.yaml" in line]
    assert len(warnings) == 1 and warnings[0].startswith("vagga: warning: ")


@pytest.mark.case("vagga-09")
def test_a_newer_format_is_named_before_what_it_brings(project: ProjectFolder) -> None:
    text = "minimum-vagga: 9999.0.0\ncontainers: { c: { setup: [!FromTheFuture x] } }\n"
    project.write("vagga.yaml", text)
    result = project.run("_list")
    assert result.returncode == 126
    assert 'upgrade vagga to at least "9999.0.0"' in result.stderr.decode().splitlines()[0]
    assert "!FromTheFuture" in result.stderr.decode().splitlines()[1]
    project.write("mixin.yaml", text)
    project.write("vagga.yaml", "mixins: [mixin.yaml]\n")
    result = project.run("_list")
    assert result.returncode == 0
    assert "vagga: warning: " in result.stderr.decode()


@pytest.mark.parametrize(
    ("version", "wanted", "enough"),
    [
        ("0.9.0", "0.8.2", True),
        ("0.9.0", "v0.9.0", True),
        ("0.9.0", "0.9.1", False),
        ("0.4.1-28-gfba00d7", "0.4.1", True),
        ("0.4.1-28-gfba00d7", "0.4.2", False),
        ("0.4.1", "0.4.1-rc1", True),
        ("0.4.1-rc1", "0.4.1", False),
        ("0.4.1", "0.4.1-x1", False),
        ("1.10", "1.9", True),
    ],
)
def test_versions_compare_by_numbers_and_words(version: str, wanted: str, enough: bool) -> None:
    assert is_at_least(version, wanted) is enough


@pytest.mark.case("vagga-10")
def test_circles_and_missing_containers_are_named(project: ProjectFolder) -> None:
    project.config("""\
        containers:
          a: { setup: [!Container b] }
          b: { setup: [!Build { container: c, path: /x }] }
          c: { setup: [!Container a] }
    """)
    result = project.run("_list")
    assert result.returncode == 126
    assert "cyclic dependency: a -> b -> c -> a" in result.stderr.decode()
    project.config("containers:\n  a: { setup: [!Container nowhere] }\n")
    result = project.run("_list")
    assert result.returncode == 126
    assert "`a`" in result.stderr.decode() and "`nowhere`" in result.stderr.decode()


@pytest.mark.case("vagga-11")
def test_settings_come_from_six_places_and_the_last_one_holds(project: ProjectFolder) -> None:
    project.config("containers: {}\n")
    home = project.home

    def effective() -> str:
        from manor.vagga.project import find_project
        from manor.vagga.reading import read_configuration

        _, settings = read_configuration(find_project(project.root))
        return settings.environ.get("WHO", "nobody")

    places = [
        home / ".config/vagga/settings.yaml",
        home / ".vagga/settings.yaml",
        home / ".vagga.yaml",
        None,
        project.root / ".vagga.settings.yaml",
        project.root / ".vagga/settings.yaml",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("VAGGA_SETTINGS", raising=False)
        for number, place in enumerate(places):
            if place is None:
                patch.setenv("VAGGA_SETTINGS", f"environ: {{ WHO: '{number}' }}")
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(f"environ: {{ WHO: '{number}' }}\n")
            assert effective() == str(number)
        for place in places[4:]:
            assert place is not None
            place.unlink()
        here, elsewhere = f"{project.root}: {{ environ: {{ WHO: site }} }}", "/elsewhere: { environ: { WHO: no } }"
        patch.setenv("VAGGA_SETTINGS", f"site-settings: {{ {here}, {elsewhere} }}")
        assert effective() == "site"
    project.write(".vagga.settings.yaml", "cache-dir: /tmp\n")
    result = project.run("_list")
    assert result.returncode == 126
    assert result.stderr.decode().startswith(".vagga.settings.yaml:1:")
    assert "cache-dir" in result.stderr.decode()


@pytest.mark.case("vagga-12")
def test_a_change_within_the_same_second_and_of_the_same_size_is_seen(project: ProjectFolder) -> None:
    (project.root / ".vagga").mkdir()
    project.write("inc.yaml", "AAAA")
    text = "commands:\n  x: !Command { container: c, run: [true], description: !*Include inc.yaml, group: BBBB }\n"
    project.write("vagga.yaml", text)
    stamp = int(time.time()) - 100

    def shown() -> str:
        for name in ("inc.yaml", "vagga.yaml"):
            os.utime(project.root / name, (stamp, stamp))
        return project.run().stderr.decode()

    assert "AAAA" in shown() and "BBBB" in shown()
    assert (project.root / ".vagga/.state/config").exists()
    project.write("inc.yaml", "CCCC")
    assert "CCCC" in shown()
    project.write("vagga.yaml", text.replace("BBBB", "DDDD"))
    assert "DDDD" in shown()


def test_yml_and_two_main_files_are_warned_about(project: ProjectFolder) -> None:
    project.write("vagga.yml", "{}")
    project.config("commands: {}\n")
    project.write(".vagga/vagga.yaml", "commands: { x: !Command { container: c, run: [true] } }\n")
    result = project.run("_list")
    assert result.stdout.split() == [b"x"]
    assert b"vagga.yml is not read" in result.stderr
    assert b"vagga.yaml is ignored because .vagga/vagga.yaml exists" in result.stderr


def test_a_cache_that_is_nonsense_is_no_error(project: ProjectFolder) -> None:
    project.config("commands: { x: !Command { container: c, run: [true] } }\n")
    (project.root / ".vagga/.state").mkdir(parents=True)
    Path(project.root / ".vagga/.state/config").write_bytes(b"\x00\xff")
    assert project.out("_list").split() == ["x"]
