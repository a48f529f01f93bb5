"""Which roles a node renders, and what deployments write down."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manor.verwalter.deploy import decoded
from manor.verwalter.deployment_log import DeploymentLog, LogFile, prune
from manor.verwalter.deployment_plan import (
    RoleWork,
    Rules,
    next_retry_ms,
    orphans,
    read_template_directory,
    role_work,
    roles_to_deploy,
    template_problem,
)
from manor.verwalter.state_files import DeployedRole

RULES = Rules(retry_s=30.0, retry_max_s=600.0, everything=False)


def work(role: str, hash: str = "h") -> RoleWork:
    return RoleWork(role, {}, hash, "site/v1")


def deployed(hash: str = "h", *, ok: bool = True, at: int = 0, failures: int = 0) -> DeployedRole:
    return DeployedRole(hash=hash, ok=ok, deployment="d", at=at, failures=failures)


def test_only_what_changed_is_rendered(tmp_path: Path) -> None:
    # another node's part of the schedule is not among what a role's hash is made of
    directory = read_template_directory(tmp_path, "site/v1")
    before = role_work("site", {"a": 1, "timestamp": "now"}, directory, "hash-1", {})
    after = role_work("site", {"a": 1, "timestamp": "later"}, directory, "hash-2", {})
    known = {"site": deployed(before.hash)}
    assert roles_to_deploy([after], known, (), 0, RULES) == ()
    changed = role_work("site", {"a": 2}, directory, "hash-2", {})
    assert roles_to_deploy([changed], known, (), 0, RULES) == (changed,)


def test_a_template_that_mentions_the_whole_schedule_is_rendered_with_each_one(tmp_path: Path) -> None:
    (tmp_path / "site/v1").mkdir(parents=True)
    (tmp_path / "site/v1/a.j2").write_text("{{ full_schedule.nodes }}")
    directory = read_template_directory(tmp_path, "site/v1")
    assert directory.uses_schedule
    assert role_work("site", {}, directory, "1", {}).hash != role_work("site", {}, directory, "2", {}).hash


def test_a_changed_template_is_rendered_again(tmp_path: Path) -> None:
    file = tmp_path / "site/v1/a.j2"
    file.parent.mkdir(parents=True)
    hashes = set()
    for text in ("one", "two"):
        file.write_text(text)
        hashes.add(read_template_directory(tmp_path, "site/v1").hash)
    assert len(hashes) == 2


def test_new_forced_and_all_roles_are_rendered_in_order_of_their_names() -> None:
    works = [work("c"), work("a"), work("b")]
    known = {name: deployed() for name in "abc"}
    assert [w.role for w in roles_to_deploy(works, known, {"b"}, 0, RULES)] == ["b"]
    assert [w.role for w in roles_to_deploy(works, {"a": deployed()}, (), 0, RULES)] == ["b", "c"]
    everything = Rules(30.0, 600.0, everything=True)
    assert [w.role for w in roles_to_deploy(works, known, (), 0, everything)] == ["a", "b", "c"]


def test_a_failed_role_is_tried_again_later_and_later() -> None:
    for failures, wait_s in ((1, 30), (2, 60), (5, 480), (6, 600), (60, 600)):
        known = {"a": deployed(ok=False, at=1000, failures=failures)}
        assert roles_to_deploy([work("a")], known, (), 1000 + wait_s * 1000 - 1, RULES) == ()
        assert roles_to_deploy([work("a")], known, (), 1000 + wait_s * 1000, RULES) == (work("a"),)
        assert next_retry_ms(known, ["a"], RULES) == 1000 + wait_s * 1000
    assert next_retry_ms(known, [], RULES) is None


def test_what_is_no_longer_this_nodes_is_an_orphan() -> None:
    assert orphans({"a": deployed(), "b": deployed()}, ["b", "c"]) == ("a",)


@pytest.mark.parametrize("template", [None, 5, "", "../x", "/x", "a//b", "a/./b", "a/b/c/d/e", "a\0"])
def test_unsafe_templates_are_refused_before_anything_starts(template: object) -> None:
    assert template_problem(template) is not None


def test_roles_with_bad_names_are_refused(tmp_path: Path) -> None:
    directory = read_template_directory(tmp_path, "site/v1")
    assert role_work("../etc", {"template": "site/v1"}, directory, "", {}).refusal == "bad role name"
    assert role_work("site", {"template": "site/v1"}, directory, "", {}).refusal is None


def test_a_renderers_status_is_told_in_words() -> None:
    assert decoded(10).endswith("verwalter-render 10; Decoded verwalter render failure: error rendering templates")
    assert decoded(-9).endswith("killed by signal 9")
    assert decoded(77).endswith("unknown status 77")


# Logs


def test_every_pointer_of_the_index_leads_to_its_marker(tmp_path: Path) -> None:
    notes = DeploymentLog(tmp_path, "X" * 24)
    with notes.open_global() as log:
        notes.mark_global(log, "DeploymentStart")
        notes.changes("6f0c" * 16, ["site: v1 -> v2\nsecond line"])
        with notes.open_role("site") as role_log:
            notes.mark_role(role_log, "site", "RoleStart")
            with notes.continue_role("site") as renderer_log:
                notes.mark_role(renderer_log, "site", "ActionStart", "lithos.render.yaml")
                renderer_log.block("template", '"a.j2" -> "/tmp/a"', "text")
            notes.mark_role(role_log, "site", "RoleFinish")
        notes.mark_external("vw/app.log", 17)
        notes.mark_global(log, "DeploymentFinish")
    index = [json.loads(line) for line in (tmp_path / ".index/latest").read_text().splitlines()]
    files = {"Global": ".global", "Changes": ".changes"}
    for _at, id, pointer, marker in index:
        assert id == "X" * 24
        *where, offset = pointer["fields"]
        if pointer["variant"] == "External":
            assert (pointer["fields"], marker) == (["vw/app.log", 17], "ExternalLog")
            continue
        directory = files.get(pointer["variant"]) or where[0]
        line = (tmp_path / directory / f"log.{where[-1]}.txt").read_bytes()[offset:].splitlines()[0].decode()
        name = marker if isinstance(marker, str) else f"{marker['variant']} {marker['fields'][0]}"
        assert line.endswith((f"{name} -----------", "6f0c6f0c: site: v1 -> v2 second line"))
    assert len(index) == 7


def test_a_full_segment_is_left_at_the_beginning_of_a_role_never_within(tmp_path: Path) -> None:
    now = datetime(2026, 3, 14, 9, 15, tzinfo=UTC)
    with LogFile.open(tmp_path / "site", now, bytes_max=10) as log:
        log.write("more than ten bytes")
        with LogFile.open_latest(tmp_path / "site", now + timedelta(minutes=1)) as renderer_log:
            renderer_log.write("the same segment")
    with LogFile.open(tmp_path / "site", now + timedelta(minutes=2), bytes_max=10) as log:
        assert log.segment == "20260314091700"
    assert (tmp_path / "site/latest").readlink() == Path("log.20260314091700.txt")
    assert "the same segment" in (tmp_path / "site/log.20260314091500.txt").read_text()


def test_old_segments_go_but_never_the_latest(tmp_path: Path) -> None:
    now = datetime(2026, 3, 14, 9, 15, tzinfo=UTC)
    for minute in range(5):
        LogFile.open(tmp_path / "site", now + timedelta(minutes=minute), bytes_max=-1).close()
    prune(tmp_path, keep_segments=2, keep_index_days=1)
    names = sorted(path.name for path in (tmp_path / "site").iterdir())
    assert names == ["latest", "log.20260314091800.txt", "log.20260314091900.txt"]
