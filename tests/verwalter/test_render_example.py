"""The templates of the example site, rendered for a schedule of its own roles.yaml, read as lithos and nginx read."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from manor import VERSION
from manor.lithos.process_config import parse_processes
from manor.verwalter.render.command import main
from manor.verwalter.responder import roles_of_node
from manor.verwalter.scheduler.roles import load_roles

EXAMPLE = Path(__file__).parents[2] / "examples/django/nodes/verwalter"
HOSTS = ("alpha", "beta", "gamma")


def runtime() -> dict[str, Any]:
    """What lies below runtime/ after the three images were pushed."""

    def process(image: str, config: str) -> dict[str, str]:
        return {"image": image, "config": f"/config/{config}.yaml"}

    return {
        "database": {"v1": {"daemons": {"postgres": process("database.1", "postgres")}}},
        "balancer": {"v1": {"daemons": {"nginx": process("balancer.1", "nginx")}}},
        "site": {
            "v1": {"daemons": {"web": process("app.1", "web")}, "commands": {"manage": process("app.1", "manage")}}
        },
    }


@pytest.fixture
def schedule() -> dict[str, Any]:
    def node(host: str) -> dict[str, Any]:
        labels = {"database": "yes"} if host == "gamma" else {}
        images = {"site": ["app.1"], "database": ["database.1"], "balancer": ["balancer.1"]}
        sandboxes = {name: {"images": here, "incoming": {}} for name, here in images.items()}
        report = {"machine": {"labels": labels}, "instances": {}, "sandboxes": sandboxes}
        return {"id": host, "name": host, "addr": f"{host}:8379", "self": host == "alpha", "responsive": True,
                "age_ms": 0, "errors": 0, "report": report}  # fmt: skip

    nodes = {host: node(host) for host in HOSTS}
    document = {"now": 1_000_000, "parents": [], "parent_info": [], "actions": {}, "runtime": runtime(), "nodes": nodes}
    data, _log, _answers = load_roles(EXAMPLE / "scheduler/v1/roles.yaml")(document)
    return data


class Node:
    """One machine's /etc/verwalter with the example's templates; its `lithos_switch` keeps what it gets."""

    def __init__(self, place: Path, hostname: str, schedule: dict[str, Any]) -> None:
        self.place, self.hostname, self.schedule = place, hostname, schedule
        self.balancer = place / "balancer"
        self.balancer.mkdir()
        self.lithos_switch = place / "lithos_switch"
        self.lithos_switch.write_text(f'#!/bin/sh\ncp "$2" {place}/$1.yaml\n')
        self.lithos_switch.chmod(0o755)
        shutil.copytree(EXAMPLE / "templates", place / "etc/templates")
        for file in (place / "etc/templates").rglob("*.render.yaml"):
            text = file.read_text().replace("lithos_switch", str(self.lithos_switch))
            text = text.replace("/etc/guestbook/balancer", str(self.balancer))
            file.write_text(text.replace("lithos_ps --pid", f"echo reloaded $slot >> {place}/reloads; false"))

    def render(self, role: str) -> int:
        variables = roles_of_node(self.schedule, self.hostname, datetime(2026, 3, 14, tzinfo=UTC)).to_render[role]
        variables |= {"deployment_id": "Xq3", "verwalter_version": f"v{VERSION}"}
        options = ["--config-dir", str(self.place / "etc"), "--log-dir", str(self.place / "log")]
        return main([json.dumps(variables), "--schedule", json.dumps({"hash": "0", "data": self.schedule}), *options])

    def processes(self, role: str) -> dict[str, Any]:
        document = parse_processes((self.place / f"{role}.yaml").read_bytes(), f"{role}.yaml")
        return dict(document.value)


def test_every_node_starts_the_instances_the_schedule_gives_it(tmp_path: Path, schedule: dict[str, Any]) -> None:
    web = 0
    for host in HOSTS:
        (tmp_path / host).mkdir()
        node = Node(tmp_path / host, host, schedule)
        for role in schedule["nodes"][host]["roles"]:
            assert node.render(role) == 0
        site = node.processes("site")
        assert (site["web-a"].image, site["web-a"].config) == ("app.1", "/config/web.yaml")
        assert site["web-a"].variables == {"port": "8080", "database": "gamma"}
        assert site["manage"].variables["database"] == "gamma"
        web += site["web-a"].instances
        assert node.processes("balancer")["nginx-a"].instances == 1
        if host == "gamma":
            assert node.processes("database")["postgres-a"].variables == {"port": "5432"}
        else:
            assert "database" not in schedule["nodes"][host]["roles"]
    assert web == 4


def directives(text: str) -> list[Any]:
    """nginx's grammar: words up to `;` are a directive, words and `{ … }` a block; anything left over is an error."""
    tokens = iter(re.findall(r"#[^\n]*|[{};]|[^\s{};]+", text))

    def block(*, outermost: bool) -> list[Any]:
        found: list[Any] = []
        words: list[str] = []
        for token in tokens:
            if token == "}":
                assert not outermost and not words, words
                return found
            if token == ";":
                assert words
                found.append(words)
                words = []
            elif token == "{":
                found.append((words, block(outermost=False)))
                words = []
            elif not token.startswith("#"):
                words.append(token)
        assert outermost and not words, words
        return found

    return block(outermost=True)


def upstream(text: str) -> list[list[str]]:
    http = next(one[1] for one in directives(text) if one[0] == ["http"])
    return next(one[1] for one in http if one[0] == ["upstream", "site"])  # type: ignore[no-any-return]


def test_nginx_gets_every_node_with_workers_and_is_told_only_of_changes(
    tmp_path: Path, schedule: dict[str, Any]
) -> None:
    node = Node(tmp_path, "alpha", schedule)
    assert node.render("balancer") == 0
    servers = upstream((node.balancer / "nginx.conf").read_text())
    assert servers == [["server", f"{host}:8080", "max_fails=1", "fail_timeout=2s"] for host in HOSTS]
    assert (tmp_path / "reloads").read_text() == "reloaded a\nreloaded b\n"

    assert node.render("balancer") == 0
    assert (tmp_path / "reloads").read_text() == "reloaded a\nreloaded b\n"

    schedule["nodes"]["beta"]["roles"]["site"]["daemons"] = {}
    assert node.render("balancer") == 0
    assert [words[1] for words in upstream((node.balancer / "nginx.conf").read_text())] == ["alpha:8080", "gamma:8080"]
    assert (tmp_path / "reloads").read_text() == "reloaded a\nreloaded b\n" * 2


def test_without_any_worker_the_balancer_still_has_a_valid_upstream(tmp_path: Path, schedule: dict[str, Any]) -> None:
    for part in schedule["nodes"].values():
        part["roles"]["site"]["daemons"] = {}
    node = Node(tmp_path, "alpha", schedule)
    assert node.render("balancer") == 0
    assert upstream((node.balancer / "nginx.conf").read_text()) == [["server", "127.0.0.1:9", "down"]]
    assert node.render("site") == 0
    assert "web-a" not in node.processes("site")


@pytest.mark.parametrize("role", ["site", "database", "balancer"])
def test_the_limits_of_the_nodes_allow_what_the_templates_ask_for(
    role: str, schedule: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    variables = roles_of_node(schedule, "gamma", datetime(2026, 3, 14, tzinfo=UTC)).to_render[role]
    templates = EXAMPLE / "templates" / variables["template"]
    arguments = [json.dumps(variables), "--schedule", json.dumps(schedule), "--config-dir", str(EXAMPLE)]
    assert main([*arguments, "-C", str(templates)]) == 0
    printed = capsys.readouterr().out
    assert f"(dry_run) RootCommand ['lithos_switch', '{role}', " in printed
