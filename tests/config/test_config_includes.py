"""Files that include files: content, positions, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from manor.config import globs
from manor.config.dialect import INCLUDE_DEPTH_MAX, VAGGA
from manor.config.loader import ConfigError, Document, load, load_file


class Top(msgspec.Struct, frozen=True, kw_only=True):
    environ: dict[str, str] = {}
    items: tuple[str, ...] = ()
    by_name: dict[str, dict[str, str]] = {}
    number: int = 0
    anything: Any = None


def project(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "vagga.yaml"


def read(main: Path) -> Document[Top]:
    return load_file(main, Top, VAGGA, shown_as="vagga.yaml")


def said(main: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(main)
    return str(caught.value)


def test_a_file_is_included_at_any_node_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    main = project(
        tmp_path,
        vagga_yaml="""
environ: {<<: !*Include parts/env.yaml, B: own}
items: [a, !*Unpack [!*Include parts/list.yaml]]
""",
        parts__env_yaml="A: env\nB: env\nC: !*Include deep/c.yaml\n",
        parts__deep__c_yaml="from below\n",
        parts__list_yaml="- b\n- c\n",
    )
    document = read(main)
    assert document.value == Top(environ={"B": "own", "A": "env", "C": "from below"}, items=("a", "b", "c"))
    names = ["vagga.yaml", "parts/env.yaml", "parts/deep/c.yaml", "parts/list.yaml"]
    assert document.files == tuple(tmp_path / name for name in names)


def test_a_problem_in_an_included_file_stands_there(tmp_path: Path) -> None:
    main = project(
        tmp_path,
        vagga_yaml="number: !*Include parts/number.yaml\nenviron: !*Include parts/broken.yaml\n",
        parts__number_yaml="# how many\nlots\n",
        parts__broken_yaml="a: b: c\n",
    )
    lines = said(main).splitlines()
    assert lines[0].startswith("parts/broken.yaml:1:5: a `:` is not allowed here")
    assert lines[1].startswith('parts/number.yaml:2:1: not a number: "lots"; write digits')


def test_the_place_of_an_included_value_is_in_its_file(tmp_path: Path) -> None:
    main = project(tmp_path, vagga_yaml="environ: !*Include env.yaml\n", env_yaml="\nA: x\n")
    assert str(read(main).at("environ", "A")) == "env.yaml:2:4"


def test_globs_make_lists_in_order_of_path_and_mappings_by_the_captured_part(tmp_path: Path) -> None:
    main = project(
        tmp_path,
        vagga_yaml="items: !*IncludeSeq items/*.yaml\nby-name: !*IncludeMap envs/(*).yaml\n",
        items__b_yaml="second\n",
        items__a_yaml="first\n",
        envs__web_yaml="A: w\n",
        envs__db_yaml="A: d\n",
    )
    document = read(main)
    assert document.value.items == ("first", "second")
    assert document.value.by_name == {"db": {"A": "d"}, "web": {"A": "w"}}
    assert document.directories == (tmp_path / "items", tmp_path / "envs")


def test_a_glob_without_files_is_empty(tmp_path: Path) -> None:
    main = project(tmp_path, vagga_yaml="items: !*IncludeSeq no/*.yaml\nby-name: !*IncludeMap no/(*).yaml\n")
    assert read(main).value == Top()


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("!*Include /etc/x.yaml", 'the path "/etc/x.yaml" is absolute; write it relative to this file'),
        ("!*Include a/../../x.yaml", 'the path "a/../../x.yaml" leads up by `..`'),
        ("!*Include", "the path is missing"),
        ("!*Include [a]", "takes the path of a file"),
        ("!*Include none.yaml", "cannot include `none.yaml`: No such file or directory; check the path"),
        ("!*Include vagga.yaml", "`vagga.yaml` is being included already; files cannot include each other"),
        ("!*IncludeSeq (*).yaml", "take the parentheses out"),
        ("!*IncludeMap '*.yaml'", "takes its keys from parentheses; write such as `dir/(*).yaml`"),
        ("!*IncludeMap (*)/(*).yaml", "needs exactly one pair of parentheses"),
        ("!*IncludeMap parts/(?)*.yaml", "both give the key `a`; rename one of them"),
    ],
)
def test_an_include_that_is_refused(tmp_path: Path, include: str, words: str) -> None:
    main = project(tmp_path, vagga_yaml=f"anything: {include}\n", parts__a1_yaml="x", parts__a2_yaml="y")
    line = said(main)
    assert line.startswith("vagga.yaml:1:11: ")
    assert words in line


def test_includes_in_a_circle_end(tmp_path: Path) -> None:
    main = project(
        tmp_path, vagga_yaml="anything: !*Include a.yaml", a_yaml="!*Include b.yaml", b_yaml="x: !*Include a.yaml"
    )
    assert said(main) == "b.yaml:1:4: `a.yaml` is being included already; files cannot include each other"


def test_includes_nest_to_a_depth(tmp_path: Path) -> None:
    chain = {f"f{i}_yaml": f"!*Include f{i + 1}.yaml" for i in range(1, 40)} | {"f40_yaml": "end"}
    start = 41 - INCLUDE_DEPTH_MAX
    main = project(tmp_path, vagga_yaml=f"anything: !*Include f{start}.yaml", **chain)
    assert read(main).value.anything == "end"
    main.write_text(f"anything: !*Include f{start - 1}.yaml")
    assert said(main).startswith("f39.yaml:1:1: includes nested deeper than 32")


def test_all_included_files_share_one_limit_of_bytes_and_of_nodes(tmp_path: Path) -> None:
    text = "'" + "x" * (6 * 2**20) + "'"
    main = project(
        tmp_path, vagga_yaml="anything: !*IncludeSeq p/*.yaml", p__a_yaml=text, p__b_yaml=text, p__c_yaml=text
    )
    assert said(main) == "vagga.yaml:1:11: all files together are larger than 16 MiB; include less"
    nine = "[" + ", ".join(["!*Include {}"] * 9) + "]"
    files = {f"l{i}_yaml": nine.replace("{}", f"l{i + 1}.yaml") for i in range(1, 20)} | {"l20_yaml": "[x, x]"}
    main = project(tmp_path, vagga_yaml="anything: !*Include l1.yaml", **files)
    assert "more than 1,000,000 values" in said(main)


def test_without_a_directory_nothing_is_included() -> None:
    with pytest.raises(ConfigError, match="includes are not supported"):
        load(b"anything: !*Include x.yaml", "vagga.yaml", Top, VAGGA)


def test_patterns_stay_within_names_unless_two_stars(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", ".hidden.yaml", "d/c.yaml", "d/e/f.yaml", "d/[x].yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    def found(pattern: str) -> list[tuple[str, str | None]]:
        return globs.find(tmp_path, pattern)[0]

    assert found("*.yaml") == [("a.yaml", None)]
    assert found(".*.yaml") == [(".hidden.yaml", None)]
    assert found("[ab].y*") == [("a.yaml", None), ("b.yml", None)]
    assert found("[!a].y?l") == [("b.yml", None)]
    assert found("d/(*).yaml") == [("d/[x].yaml", "[x]"), ("d/c.yaml", "c")]
    assert found("(**/*).yaml") == [
        ("a.yaml", "a"),
        ("d/[x].yaml", "d/[x]"),
        ("d/c.yaml", "d/c"),
        ("d/e/f.yaml", "d/e/f"),
    ]
    assert found("d/(*)/f.yaml") == [("d/e/f.yaml", "e")]
    assert found("d/e/f.yaml") == [("d/e/f.yaml", None)]
    assert found("none/*") == []


def test_a_failure_names_the_files_whose_change_may_mend_it(tmp_path: Path) -> None:
    main = project(tmp_path, vagga_yaml="items: !*IncludeSeq p/*.yaml\nanything: !*Include none.yaml\n", p__a_yaml="x")
    for text in (main.read_text(), main.read_text() + "a: b: c\n"):
        main.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read(main)
        assert caught.value.files == (main, tmp_path / "p/a.yaml", tmp_path / "none.yaml")
        assert caught.value.directories == (tmp_path / "p",)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "absent.yaml")
    assert caught.value.files == (tmp_path / "absent.yaml",)
