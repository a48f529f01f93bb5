"""A round of the declarative scheduler: 1,000 nodes, 100 roles, 20,000 instances.

There is no peer that does the same; the yardstick is what cannot be avoided: the scheduler runs in a process of its
own, so the round's documents are written and read as JSON, by the same library as there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import Row, Size, in_turn, seconds
from manor.verwalter.scheduler.roles import load_roles


def run(size: Size) -> Iterable[Row]:
    nodes, roles, instances = (1000, 100, 200) if size is Size.FULL else (20, 3, 10)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "roles.yaml"
        path.write_text(declaration(roles, instances))
        run_round = load_roles(path)
    document = first_input(nodes, roles)
    schedule, _, _ = run_round(document)
    steady = {**document, "parents": [plain(schedule)], "parent_info": [{"hash": "a", "timestamp": 1}]}

    def both_ways() -> float:
        return seconds(lambda: (there_and_back(steady), there_and_back(schedule)))

    first_s, steady_s, json_s = in_turn(
        3, lambda: seconds(lambda: run_round(document)), lambda: seconds(lambda: run_round(steady)), both_ways
    )
    made_of = f"{nodes} nodes, {roles} roles, {roles * instances} instances"
    yield Row(
        "first round, everything is placed", first_s, "s", "the documents as JSON, there and back", json_s, made_of
    )
    yield Row("steady round, nothing changes", steady_s, "s", "the documents as JSON, there and back", json_s, made_of)


def there_and_back(document: object) -> object:
    return msgspec.json.decode(msgspec.json.encode(document))


def declaration(roles: int, instances: int) -> str:
    lines = ["schema: 1", "roles:"]
    for number in range(roles):
        lines.append(f"  role{number}: {{template: t/v1, daemons: {{web: {{instances: {instances}}}}}}}")
    return "\n".join(lines)


def first_input(nodes: int, roles: int) -> dict[str, Any]:
    report = {"machine": {"labels": {"zone": "a"}, "capacity": {"slots": 100}}, "instances": {}, "sandboxes": {}}
    return {
        "now": 1_000_000,
        "parents": [],
        "parent_info": [],
        "actions": {},
        "runtime": {
            f"role{number}": {"v1": {"daemons": {"web": {"image": f"web.{number}", "config": "/config/web.yaml"}}}}
            for number in range(roles)
        },
        "nodes": {f"node{number}": {"age_ms": 0, "report": report} for number in range(nodes)},
        "partition": {"majority": True},
    }


def plain(schedule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schedule.items() if key not in ("changes", "next_run")}
