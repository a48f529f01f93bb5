"""What verwalter-ctl does without a daemon: tokens, keys, checking, one round, simulations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manor.trust.keys import ClusterKeys
from manor.trust.tokens import Tokens
from manor.verwalter.ctl import main

EXAMPLE = Path(__file__).parents[2] / "examples/django/nodes/verwalter"


def test_a_token_that_was_made_is_good_until_it_is_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.yaml"
    made = ["token", "create", "--tokens-file", str(file)]
    assert main([*made, "ann", "--role", "operator", "--ttl", "30d", "--roles-allowed", "site*"]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    ann = capsys.readouterr().out.strip()
    file.write_text("# who may what\n" + file.read_text() + "# and Bob\n")
    assert main([*made, "bob", "--role", "viewer"]) == 0
    bob = capsys.readouterr().out.strip()

    identity = Tokens.read(file).authenticate(ann)
    assert identity is not None
    assert (identity.name, identity.role, identity.roles_allowed) == ("ann", "operator", ("site*",))
    assert main(["token", "list", "--tokens-file", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["ann", "operator"], ["bob", "viewer"]]

    assert main(["token", "revoke", "ann", "--tokens-file", str(file)]) == 0
    tokens = Tokens.read(file)
    assert tokens.authenticate(ann) is None
    assert tokens.authenticate(bob) is not None
    assert file.read_text().startswith("# who may what\n")
    assert main(["token", "revoke", "ann", "--tokens-file", str(file)]) == 6
    assert "no token of `ann`; there are bob" in capsys.readouterr().err


def test_a_tokens_file_that_cannot_be_used_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text("- {name: ann, role: emperor}\n")
    assert main(["token", "list", "--tokens-file", str(file)]) == 1
    assert f"{file}:1:1: others may read" in capsys.readouterr().err
    file.chmod(0o600)
    assert main(["token", "create", "bob", "--role", "viewer", "--tokens-file", str(file)]) == 1
    assert f"{file}:1:" in capsys.readouterr().err
    assert file.read_text() == "- {name: ann, role: emperor}\n"


def test_a_token_with_a_bad_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.yaml"
    assert main(["token", "create", "a.b", "--role", "viewer", "--tokens-file", str(file)]) == 1
    assert capsys.readouterr().out == ""
    assert not file.exists()


def test_a_generated_key_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "generate"]) == 0
    key = capsys.readouterr().out
    ClusterKeys.parse(key, "cluster.key")


def test_validate_says_what_the_daemon_would_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(EXAMPLE)]) == 0
    (tmp_path / "verwalter.yaml").write_text("prot: 8379\n")
    assert main(["validate", str(tmp_path)]) == 7
    assert f"{tmp_path}/verwalter.yaml:1:1: " in capsys.readouterr().err
    assert main(["validate", str(tmp_path / "nope")]) == 6


def scheduler_input() -> dict[str, Any]:
    return {
        "now": 1_000_000, "parents": [], "parent_info": [], "actions": {},
        "nodes": {"alpha": {"id": "1", "name": "alpha", "addr": "a:1", "self": True, "responsive": True, "age_ms": 0,
                            "errors": 0, "report": None}},
        "runtime": {"site": {"v1": {"daemons": {"web": {"image": "app.1", "config": "/config/web.yaml"}},
                                    "commands": {"manage": {"image": "app.1", "config": "/config/manage.yaml"}}}}},
    }  # fmt: skip


def test_run_scheduler_prints_schedule_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "input.json"
    file.write_text(json.dumps(scheduler_input()))
    words = ["run-scheduler", str(EXAMPLE / "scheduler/v1"), "--input", str(file)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["roles"]["site"]["version"] == "v1"
    assert "site: first version v1" in printed.err
    assert main(["--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["changes"][0].startswith("site: first version")
    assert len(document["hash"]) == 64


def test_run_scheduler_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "input.json"
    file.write_text("{}")
    good = str(EXAMPLE / "scheduler/v1")
    assert main(["run-scheduler", good, "--input", str(file)]) == 7
    assert "scheduler raised KeyError" in capsys.readouterr().err
    assert main(["run-scheduler", str(tmp_path), "--input", str(file)]) == 7
    assert "no scheduler here" in capsys.readouterr().err
    assert main(["run-scheduler", good, "--input", str(tmp_path / "nope")]) == 2
    file.write_text("[")
    assert main(["run-scheduler", good, "--input", str(file)]) == 2


def test_an_election_is_simulated_the_same_way_twice(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "simulate", "election", "--nodes", "3", "--seed", "7", "--minutes", "3"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["problems"] == []
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert main(["simulate", "election", "--nodes", "0"]) == 2
