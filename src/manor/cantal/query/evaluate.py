"""From a checked document and a view of samples to the answers. Start reading here.

Pure: whatever offers a `View` can be asked, this machine's store or what another machine sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from manor.cantal.query import limits
from manor.cantal.query.combine import combine
from manor.cantal.query.datasets import Dataset
from manor.cantal.query.document import Document, Rule, Source
from manor.cantal.query.errors import QueryTooBig
from manor.cantal.query.extracts import SampleBudget, take_states
from manor.cantal.store.view import View


def evaluate(document: Document, view: View, clock: Callable[[], float] = time.monotonic) -> dict[str, Dataset]:
    """Every rule's dataset by name, then those of `combine`. Raises QueryTooBig.

    Args:
        clock: seconds; a document may take EVALUATION_S_MAX of them.
    """
    deadline = clock() + limits.EVALUATION_S_MAX
    budget = SampleBudget()
    results: dict[str, Dataset] = {}
    for name, rule in document.rules.items():
        results[name] = evaluate_rule(rule, view, budget)
        if clock() > deadline:
            raise QueryTooBig(f"it took longer than {limits.EVALUATION_S_MAX:g} s; ask for less at once")
    combined = {name: combine(expression, results) for name, expression in document.combine.items()}
    return {**results, **combined}


def evaluate_rule(rule: Rule, view: View, budget: SampleBudget | None = None) -> Dataset:
    """One rule; `budget` is shared by the rules of a document."""
    dataset: Dataset
    if rule.source is Source.TIP:
        dataset = take_states(view, rule.condition)
    else:
        dataset = rule.extract.take(view, view.matching(rule.condition), budget or SampleBudget())
    for function in rule.functions:
        dataset = function.apply(dataset)
    return dataset
