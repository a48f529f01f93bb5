"""Answers about the whole cluster, made from what every host has sent. Pure; called in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cbor2
import numpy as np

from manor.cantal.query.combine import combine
from manor.cantal.query.conditions import All
from manor.cantal.query.datasets import Dataset
from manor.cantal.query.document import Document
from manor.cantal.query.encode import cbor_dataset, plain_dataset, to_plain
from manor.cantal.query.evaluate import evaluate_rule
from manor.cantal.query.extracts import SampleBudget
from manor.cantal.remote.merge import HostFrame, merge, merge_states
from manor.cantal.remote.wanted import Wish
from manor.cantal.store.frame import empty_frame
from manor.cantal.store.view import FrameView, View

NOTHING: Final = empty_frame(np.zeros(0, np.int64), ())


@dataclass(frozen=True, slots=True)
class Question:
    """A document, and the wish behind each of its rules."""

    document: Document
    wishes: Mapping[str, Wish]


@dataclass(frozen=True, slots=True)
class Host:
    """What one host has delivered: a view for each rule."""

    id: str
    name: str
    newest_tick: int
    interval_ms: int
    skew_ms: int
    views: Mapping[str, View]
    own: bool  # the view is the whole store, not only what was wanted

    def described(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "newest_tick": self.newest_tick, "clock_skew": self.skew_ms}


@dataclass(frozen=True, slots=True)
class Missing:
    """An available member without data, and why."""

    id: str
    name: str
    reason: str


def by_host(
    question: Question, hosts: Sequence[Host], missing: Sequence[Missing], unavailable: Sequence[str]
) -> dict[str, Any]:
    """Each host's rules on its own data."""
    found = {}
    for host in hosts:
        results = _evaluate(question.document, host)
        described = host.described()
        del described["id"]
        found[host.id] = described | {"values": {name: plain_dataset(one) for name, one in results.items()}}
    return {"hosts": found, "missing": missing, "unavailable": unavailable}


def by_host_cbor(question: Question, hosts: Sequence[Host]) -> bytes:
    """The form old programs know: host -> rule -> dataset."""
    return cbor2.dumps(
        {
            host.id: {name: cbor_dataset(one) for name, one in _evaluate(question.document, host).items()}
            for host in hosts
        }
    )


def merged(
    question: Question, hosts: Sequence[Host], missing: Sequence[Missing], unavailable: Sequence[str]
) -> dict[str, Any]:
    """The rules on the data of all hosts together."""
    results: dict[str, Dataset] = {}
    budget = SampleBudget()
    newest, interval = 0, max((host.interval_ms for host in hosts), default=0)
    views: dict[int, FrameView] = {}
    for name, rule in question.document.rules.items():
        wish = question.wishes[name]
        if wish.number not in views:
            views[wish.number] = _merged_view(name, wish, question, hosts)
        view = views[wish.number]
        if len(view.times):
            newest = max(newest, int(view.times[-1]))
        results[name] = evaluate_rule(replace(rule, condition=All()), view, budget)
    for name, expression in question.document.combine.items():
        results[name] = combine(expression, results)
    return to_plain(results, newest, interval) | {
        "hosts": [host.described() for host in hosts],
        "missing": missing,
        "unavailable": unavailable,
    }


def _evaluate(document: Document, host: Host) -> dict[str, Dataset]:
    results: dict[str, Dataset] = {}
    budget = SampleBudget()
    for name, rule in document.rules.items():
        asked = rule if host.own else replace(rule, condition=All())  # the member has looked at the condition already
        results[name] = evaluate_rule(asked, host.views[name], budget)
    for name, expression in document.combine.items():
        results[name] = combine(expression, results)
    return results


def _merged_view(name: str, wish: Wish, question: Question, hosts: Sequence[Host]) -> FrameView:
    condition = question.document.rules[name].condition
    parts, states = [], []
    for host in hosts:
        view = host.views[name]
        wanted = condition if host.own else All()
        if wish.source == "Tip":
            states.append((host.id, view.states(wanted)))
            continue
        last = len(view.times)
        frame = view.frame(view.matching(wanted), max(0, last - wish.ticks), last)
        parts.append(HostFrame(host.id, host.interval_ms, host.skew_ms, frame))
    frame, interval = merge(parts)
    return FrameView(frame, interval, merge_states(states))
