"""Which files a step takes: every row of the reference's table, and the two ways of saying it."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.vagga.selection import ByRules, Selection, parse_rules, selection
from manor.vagga.versioned import walk


def taken(selection: Selection, path: str) -> bool:
    """Would a walk that begins at the source come to this file and take it?"""
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    return all(selection.enters(directory) for directory in above) and selection.takes(path, is_directory=False)


@pytest.mark.case("vagga-32")
@pytest.mark.parametrize(
    ("rules", "path", "wanted"),
    [
        (["/foo"], "foo", True),
        (["/foo"], "foo/x", True),
        (["/foo"], "foo/x/y", True),
        (["/foo"], "dir/foo", False),
        (["/*.rs"], "a.rs", True),
        (["/*.rs"], "d/a.rs", False),
        (["/**/*.py"], "a.py", True),
        (["/**/*.py"], "d/e/a.py", True),
        (["!*.py", "/dir"], "dir/a.rs", True),
        (["!*.py", "/dir"], "dir/a.py", False),
        (["/hello", "/**/file", "!file"], "hello", True),
        (["/hello", "/**/file", "!file"], "sub/file", True),
        (["!.git/", "/.git/"], ".git/config", True),
        (["!dir", "/dir/*.py"], "dir/a.py", True),
        (["!dir", "/dir/*.py"], "dir/a.txt", False),
        (["/dir/*.py", "!dir"], "dir/a.py", False),
        ([], "any/thing", True),
        ([], ".git/config", False),
        (["!x/"], "y", False),
        (["!x/", "/"], "y/z", True),
        (["!x/", "/"], "y/x/z", False),
        (["!x/", "/"], "x", True),  # a file of that name: the rule is about directories
        (["/a\\*b"], "a*b", True),
        (["/a\\*b"], "axb", False),
        (["/a?c"], "abc", True),
        (["/**/*.py"], ".git/hook.py", False),
    ],
)
def test_rules_take_what_the_table_says(rules: list[str], path: str, wanted: bool) -> None:
    assert taken(parse_rules(rules, with_defaults=True), path) is wanted


@pytest.mark.parametrize("rule", ["foo", "", "!", "/a/../b", "/a\\"])
def test_a_rule_that_makes_no_sense_is_refused_with_advice(rule: str) -> None:
    with pytest.raises(ValueError, match=r"rule|backslash"):
        parse_rules([rule], with_defaults=False)


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(root: Path, selection: Selection) -> list[str]:
    return [found.path for found in walk(root, selection) if found.path]


def test_a_directory_comes_along_only_with_something_in_it(tmp_path: Path) -> None:
    root = tree(tmp_path, "hello", "world", "subdir/file", "subdir/other")
    (root / "empty").mkdir()
    by_regex = selection(include_regex="(^hello|(^|.*/)file)$")
    assert names(root, by_regex) == ["hello", "subdir", "subdir/file"]
    assert names(root, parse_rules(["/hello", "/**/file"], with_defaults=True)) == ["hello", "subdir", "subdir/file"]
    assert names(root, parse_rules(["/empty/"], with_defaults=True)) == ["empty"]
    assert names(root, parse_rules(["/empty"], with_defaults=True)) == []


def test_by_default_version_control_and_backups_stay_outside(tmp_path: Path) -> None:
    root = tree(tmp_path, "a.py", "a.py~", "b.bak", ".git/config", "sub/.hg/x", "sub/c", ".vagga/y")
    assert names(root, selection()) == ["a.py", "sub", "sub/c"]
    assert names(root, parse_rules([], with_defaults=True)) == ["a.py", "sub", "sub/c"]


def test_nothing_selected_is_nothing_taken(tmp_path: Path) -> None:
    assert names(tree(tmp_path, "a", "b/c"), ByRules(())) == []


def test_a_source_that_is_a_file_is_itself(tmp_path: Path) -> None:
    file = tree(tmp_path, "a") / "a"
    assert [found.path for found in walk(file, selection())] == [""]
