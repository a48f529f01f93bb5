"""Trees of metadata and what a node makes of a schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from manor.verwalter.metadata import DEPTH_MAX, read_tree
from manor.verwalter.responder import merge, roles_of_node


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.case("verwalter-44")
def test_files_and_directories_become_versions_and_a_broken_one_is_listed(tmp_path: Path) -> None:
    found = read_tree(
        tree(
            tmp_path / "runtime",
            {
                "site/v1.2.yaml": "yes: no\nport: 0x50\n",
                "site/v1.3/daemons.json": '{"web": {"image": "site.1"}}',
                "site/v1.4.yaml": "a: [1",
                "site/owner.txt": "team-a\n",
                "site/.hidden.yaml": "a: 1",
                "site/backup.yaml~": "a: 1",
                "site/notes.md": "nothing",
            },
        )
    )
    assert found.values == {
        "site": {
            "v1.2": {"yes": "no", "port": 80},
            "v1.3": {"daemons": {"web": {"image": "site.1"}}},
            "owner": "team-a\n",
        }
    }
    (trouble,) = found.troubles
    assert (trouble.kind, trouble.path) == ("YamlParse", "site/v1.4.yaml")
    assert "v1.4.yaml:" in trouble.message


def test_a_directory_fills_the_file_beside_it_and_loses_against_it(tmp_path: Path) -> None:
    files = {"v1.yaml": "a: 1\n", "v1.d/a.yaml": "2", "v1.d/b.yaml": "3", "v2.yaml": "text", "v2/c.yaml": "4"}
    found = read_tree(tree(tmp_path, files))
    assert found.values == {"v1": {"a": 1, "b": 3}, "v2": {"c": 4}}
    assert [(trouble.kind, trouble.path) for trouble in found.troubles] == [("Conflict", "v1.d"), ("Conflict", "v2")]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.json", "{", "JsonParse"),
        ("a.json", "[NaN]", "NanOrInfinity"),
        ("a.yaml", "x: .inf", "NanOrInfinity"),
        ("a.yaml", "x: !Tag 1", "BadYamlValue"),
        ("a.yaml", "x: 1\nx: 2", "YamlParse"),
        ("a.yaml", "[1, 2]: 3", "BadYamlKey"),
    ],
)
def test_each_kind_of_trouble_has_its_name(tmp_path: Path, name: str, text: str, kind: str) -> None:
    found = read_tree(tree(tmp_path, {name: text, "good.txt": "x"}))
    assert [trouble.kind for trouble in found.troubles] == [kind]
    assert found.values == {"good": "x"}


def test_links_may_lead_inside_and_to_the_store_beside_but_not_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path, {"runtime/site/v1.yaml": "a: 1", ".store/1/v2.yaml": "a: 2", "secret.yaml": "a: 3"})
    site = tmp_path / "runtime/site"
    (site / "v2.yaml").symlink_to("../../.store/1/v2.yaml")
    (site / "latest.yaml").symlink_to("v1.yaml")
    (site / "v3.yaml").symlink_to("../../secret.yaml")
    assert read_tree(tmp_path / "runtime").values == {"site": {"v1": {"a": 1}, "v2": {"a": 2}, "latest": {"a": 1}}}


def test_a_tree_without_end_is_cut_off(tmp_path: Path) -> None:
    tree(tmp_path, {"/".join(["d"] * (DEPTH_MAX + 2)) + "/a.yaml": "1"})
    assert [trouble.kind for trouble in read_tree(tmp_path).troubles] == ["ScanDir"]


def test_a_missing_tree_is_empty(tmp_path: Path) -> None:
    assert read_tree(tmp_path / "nothing").values == {}


@pytest.mark.parametrize(
    ("sources", "merged"),
    [
        (({"a": {"x": 1}}, {}, {"a": 5}, {"a": {"x": 2, "y": {"p": 1}}}), {"a": {"x": 1, "y": {"p": 1}}}),
        (({"a": 5}, {}, {"a": 5}, {"a": {"x": 2, "y": {"p": 1}}}), {"a": 5}),
        (({"a": {"x": {"deep": 1}}}, {"a": {"x": {"other": 2}}}), {"a": {"x": {"deep": 1}}}),
        (({}, {"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    ],
)
def test_the_first_source_wins_and_mappings_are_joined_one_level_deep(sources: tuple[dict, ...], merged: dict) -> None:  # type: ignore[type-arg]
    before = [dict(source) for source in sources]
    assert merge(*sources) == merged
    assert list(sources) == before, "sources are not changed"


def test_a_node_renders_the_roles_that_stand_there_with_all_their_variables() -> None:
    data = {
        "vars": {"a": {"x": 2, "y": {"p": 1}}, "site": "example"},
        "roles": {"web": {"a": 5, "template": "web/v1"}, "elsewhere": {}},
        "nodes": {"alpha": {"vars": {"rack": 7}, "roles": {"web": {"a": {"x": 1}, "node": "named"}, "db": {}}}},
    }
    found = roles_of_node(data, "alpha", datetime(2026, 3, 14, 9, 15, 2, tzinfo=UTC))
    assert found.to_render == {
        "web": {
            "a": {"x": 1, "y": {"p": 1}}, "template": "web/v1", "rack": 7, "site": "example",
            "role": "web", "node": "named", "timestamp": "2026-03-14T09:15:02.000Z",
        },
        "db": {
            "a": {"x": 2, "y": {"p": 1}}, "rack": 7, "site": "example",
            "role": "db", "node": "alpha", "timestamp": "2026-03-14T09:15:02.000Z",
        },
    }  # fmt: skip
    assert found.all_roles == ("db", "elsewhere", "web")
    assert roles_of_node(data, "unknown", datetime.now(UTC)).to_render == {}
