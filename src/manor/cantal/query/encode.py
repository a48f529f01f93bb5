"""Answers as documents: the binary form old programs know, and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cbor2

from manor.cantal.query.datasets import Chart, Dataset, Empty, Incompatible, SeriesSet, TipSet
from manor.cantal.query.grouping import dataset_name
from manor.cantal.store.frame import Bits, Mask
from manor.cantal.store.keys import encode_key
from manor.cantal.store.series import Kind, Series

SINGLE_SERIES, MULTI_SERIES, SINGLE_TIP, MULTI_TIP, CHART, EMPTY, INCOMPATIBLE = 100, 101, 200, 201, 300, 998, 999


def plain_values(bits: Bits, kind: Kind) -> list[Any]:
    """Samples of one kind as Python numbers."""
    return list(bits.view({Kind.COUNTER: "u8", Kind.INTEGER: "i8"}.get(kind, "f8")).tolist())


def _column(bits: Bits, present: Mask, kind: Kind) -> list[Any]:
    """Newest first, None where absent."""
    values = plain_values(bits[::-1].copy(), kind)
    if present.all():
        return values
    return [value if here else None for value, here in zip(values, present[::-1].tolist(), strict=True)]


# -- CBOR ------------------------------------------------------------------------------------------------------------


def to_cbor(results: Mapping[str, Dataset]) -> bytes:
    """`{"values": {rule: dataset}}`."""
    return cbor2.dumps({"values": {name: cbor_dataset(dataset) for name, dataset in results.items()}})


def cbor_dataset(dataset: Dataset) -> list[Any]:
    if isinstance(dataset, SeriesSet):
        times = dataset.times[::-1].tolist()
        members = [
            [encode_key(m.key), [int(m.kind), _column(dataset.bits[:, i], dataset.present[:, i], m.kind)], times]
            for i, m in enumerate(dataset.members)
        ]
        return [SINGLE_SERIES, *members[0]] if dataset.single else [MULTI_SERIES, members]
    if isinstance(dataset, TipSet):
        tips = [
            [encode_key(m.key), [int(m.kind), value], [int(dataset.newest[i]), int(dataset.oldest[i])]]
            for i, (m, value) in enumerate(zip(dataset.members, _tip_values(dataset), strict=True))
        ]
        return [SINGLE_TIP, *tips[0]] if dataset.single else [MULTI_TIP, tips]
    if isinstance(dataset, Chart):
        return [CHART, dataset.counts]
    if isinstance(dataset, Empty):
        return [EMPTY]
    return [INCOMPATIBLE, [int(dataset.reason)]]


def _tip_values(dataset: TipSet) -> list[Any]:
    return [
        list(dataset.state(i)) if m.kind is Kind.STATE else plain_values(dataset.bits[i : i + 1], m.kind)[0]
        for i, m in enumerate(dataset.members)
    ]


# -- JSON ------------------------------------------------------------------------------------------------------------


def to_plain(results: Mapping[str, Dataset], tick: int, interval_ms: int) -> dict[str, Any]:
    """The same as plain data for JSON, with the newest tick."""
    values = {name: plain_dataset(dataset) for name, dataset in results.items()}
    return {"values": values, "tick": tick, "interval": interval_ms}


def plain_dataset(dataset: Dataset) -> dict[str, Any]:
    name = dataset_name(dataset)
    if isinstance(dataset, SeriesSet):
        times = dataset.times[::-1].tolist()
        series = [
            {
                "key": dict(m.key),
                "kind": kind_name(m),
                "values": list(map(json_value, _column(dataset.bits[:, i], dataset.present[:, i], m.kind)))
                if m.kind is Kind.FLOAT
                else _column(dataset.bits[:, i], dataset.present[:, i], m.kind),
                "timestamps": times,
            }
            for i, m in enumerate(dataset.members)
        ]
        return {"type": name, "series": series[0] if dataset.single else series}
    if isinstance(dataset, TipSet):
        tips = [
            {
                "key": dict(m.key),
                "kind": kind_name(m),
                "value": json_tip(value, m.kind),
                "slice": [int(dataset.newest[i]), int(dataset.oldest[i])],
            }
            for i, (m, value) in enumerate(zip(dataset.members, _tip_values(dataset), strict=True))
        ]
        return {"type": name, "tip": tips[0]} if dataset.single else {"type": name, "tips": tips}
    if isinstance(dataset, Chart):
        return {"type": name, "counts": dataset.counts}
    if isinstance(dataset, Incompatible):
        return {"type": name, "reason": dataset.reason.name}
    return {"type": name}


def kind_name(series: Series) -> str:
    return series.kind.name.capitalize()


def json_value(value: Any) -> Any:
    """NaN and infinities, which JSON does not know, as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def json_tip(value: Any, kind: Kind) -> Any:
    if kind is Kind.STATE:
        return {"since": value[0], "text": value[1]}
    return json_value(value)
