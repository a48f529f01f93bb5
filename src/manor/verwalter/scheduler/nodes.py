"""The nodes of a round: who lives, what each has and runs. Parsed once from the round's input."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from manor.verwalter.scheduler.declaration import Declaration, Resources

RESOURCES = ("cpu", "memory", "slots")


class Liveness(Enum):
    ALIVE = "alive"
    SUSPECT = "suspect"  # keeps what it has, gets nothing new
    DEAD = "dead"  # what it had is placed elsewhere


@dataclass(frozen=True, slots=True)
class Instance:
    """What lithos says of one instance."""

    state: str
    since: int  # ms since 1970
    image: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """One node as this round sees it."""

    host: str
    liveness: Liveness
    reported: bool  # without a report its labels, images and instances are not known, not empty
    labels: Mapping[str, str]
    capacity: Mapping[str, float]  # reserved amounts are taken off; what is not in it is unlimited
    images: Mapping[str, frozenset[str]]  # by sandbox
    instances: Mapping[str, Instance] | None  # by `SANDBOX/PROCESS.N`; None: there is no lithos

    def satisfies(self, expressions: tuple[str, ...]) -> bool:
        return all(holds(expression, self) for expression in expressions)


def read_nodes(declaration: Declaration, nodes: Mapping[str, Any]) -> dict[str, Node]:
    """The input's `nodes`, with the declaration's facts laid over the nodes' own; by host name, in order."""
    result = {}
    for host, value in sorted(nodes.items()):
        report = value.get("report") or {}
        machine = report.get("machine") or {}
        labels = {str(key): _label_text(label) for key, label in (machine.get("labels") or {}).items()}
        capacity = _amounts(machine.get("capacity"))
        reserved: dict[str, float] = {}
        for pattern, facts in declaration.nodes.items():
            if fnmatch.fnmatchcase(host, pattern):
                labels |= facts.labels
                capacity |= _declared(facts.capacity)
                reserved |= _declared(facts.reserved)
        instances = report.get("instances")
        result[host] = Node(
            host=host,
            liveness=_liveness(declaration, value),
            reported=bool(report),
            labels=labels,
            capacity={key: amount - reserved.get(key, 0) for key, amount in capacity.items()},
            images={name: frozenset(box.get("images", ())) for name, box in (report.get("sandboxes") or {}).items()},
            instances=None if instances is None else {name: _instance(one) for name, one in instances.items()},
        )
    return result


def _liveness(declaration: Declaration, value: Mapping[str, Any]) -> Liveness:
    age_ms = 0 if value.get("self") else value.get("age_ms")
    if age_ms is None or age_ms > declaration.node_dead * 1000:
        return Liveness.DEAD
    return Liveness.SUSPECT if age_ms > declaration.node_suspect * 1000 else Liveness.ALIVE


def _instance(value: Mapping[str, Any]) -> Instance:
    return Instance(
        state=str(value.get("state")),
        since=int(value.get("since") or 0),
        image=str(value.get("image")),
        error=value.get("error"),
    )


def _amounts(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {key: value[key] for key in RESOURCES if isinstance(value.get(key), int | float)}


def _declared(resources: Resources) -> dict[str, float]:
    amounts = {key: getattr(resources, key) for key in RESOURCES}
    return {key: amount for key, amount in amounts.items() if amount is not None}


def _label_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_EXPRESSION = re.compile(r"(?P<not>!?)(?P<label>[^=~!]+)(?:(?P<how>[=~])(?P<value>.*))?\Z")


def holds(expression: str, node: Node) -> bool:
    """`label` (there and not `false`), `!label`, `label=value`, `label~glob`; `host` is the node's name."""
    match = _EXPRESSION.match(expression.strip())
    if match is None:
        return False
    label = match["label"].strip()
    value = node.host if label == "host" else node.labels.get(label)
    if match["how"] is None:
        true = value is not None and value != "false"
    elif match["how"] == "=":
        true = value == match["value"]
    else:
        true = value is not None and fnmatch.fnmatchcase(value, match["value"])
    return true != bool(match["not"])
