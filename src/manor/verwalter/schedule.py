"""A schedule and its envelope: canonical text, hash, descent, and the shelf of those still at hand.

The canonical text of `data` is UTF-8 JSON with keys sorted by code point, no spaces, no escapes but those JSON demands,
numbers as their shortest round trip; `1.0` and `1` are distinct. Its SHA-256 is the hash, so equal data has one hash on
all nodes, whoever made it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from manor.config.errors import ManorError

ANCESTORS_MAX: Final = 32
CHANGES_MAX: Final = 1_000
CHANGE_BYTES_MAX: Final = 1_024
OWN_KEPT: Final = 64  # envelopes of the last 5 minutes, for peers that were cut off meanwhile
SHELF_BYTES_MAX: Final = 128 * 1024 * 1024  # four of the largest schedules

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_OLD_HASH: Final = re.compile(r"[0-9a-f]{40}")


class BadSchedule(ManorError):
    """schedule from beta: its hash is 6f0c… but its data hashes to 91ab…"""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it travels and lies on the disk. `data` is plain JSON data that nobody changes."""

    hash: str
    timestamp: int  # ms since 1970
    origin: str  # id of the leader that issued it
    epoch: int
    ancestors: tuple[tuple[str, int], ...] = ()  # hash and timestamp, newest first
    changes: tuple[str, ...] = ()
    data: dict[str, Any]

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.timestamp, self.hash, self.origin)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a packet says of a schedule."""

    timestamp: int
    hash: str
    origin: str


def canonical(data: Any) -> bytes:
    """Raises BadSchedule for what is no JSON: NaN, infinity, half characters, other types."""
    try:
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise BadSchedule(f"schedule cannot be written as JSON: {error}") from error


def hash_of(data: Any) -> str:
    return hashlib.sha256(canonical(data)).hexdigest()


def encode(envelope: Envelope) -> bytes:
    return json.dumps(msgspec.to_builtins(envelope), separators=(",", ":"), ensure_ascii=False).encode()


def decode(text: bytes, *, source: str, bytes_max: int) -> Envelope:
    """An envelope from the network: only with a hash of 64 digits, and only if it is right.

    Raises:
        BadSchedule: names the source and what is wrong.
    """
    envelope = _decode(text, source, bytes_max)
    if _HASH.fullmatch(envelope.hash) is None:
        raise BadSchedule(f"schedule from {source}: `{envelope.hash[:64]}` is no hash; 64 hexadecimal digits are")
    found = hash_of(envelope.data)
    if found != envelope.hash:
        raise BadSchedule(f"schedule from {source}: its hash is {envelope.hash} but its data hashes to {found}")
    return envelope


def decode_own(text: bytes, *, source: str, bytes_max: int) -> Envelope:
    """An envelope from the own disk: one of the older system, with a hash of 40 digits, is hashed anew."""
    envelope = _decode(text, source, bytes_max)
    found = hash_of(envelope.data)
    if envelope.hash != found and _OLD_HASH.fullmatch(envelope.hash) is None:
        raise BadSchedule(f"{source}: the hash is {envelope.hash} but the data hashes to {found}")
    return msgspec.structs.replace(envelope, hash=found)


def _decode(text: bytes, source: str, bytes_max: int) -> Envelope:
    if len(text) > bytes_max:
        raise BadSchedule(f"schedule from {source} has {len(text)} bytes; `scheduler.max-schedule` is {bytes_max}")
    try:
        return msgspec.convert(json.loads(text, parse_constant=_no_constant), Envelope)
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError
        raise BadSchedule(f"schedule from {source} is no envelope: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON value")


def descent(parents: Iterable[Envelope]) -> tuple[tuple[str, int], ...]:
    """The ancestors of a child: its parents, then theirs, newest first, each once."""
    known: dict[str, int] = {}
    for parent in parents:
        for hash, timestamp in ((parent.hash, parent.timestamp), *parent.ancestors):
            known[hash] = max(timestamp, known.get(hash, timestamp))
    newest_first = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    return tuple(newest_first[:ANCESTORS_MAX])


def in_order(own: Envelope | None, others: Iterable[Envelope]) -> tuple[Envelope, ...]:
    """Parents as a scheduler gets them: the own first, then by timestamp descending, then by hash; each hash once."""
    distinct: dict[str, Envelope] = {} if own is None else {own.hash: own}
    for other in sorted(others, key=lambda envelope: (-envelope.timestamp, envelope.hash)):
        distinct.setdefault(other.hash, other)
    return tuple(distinct.values())


def true_parents(
    own: Envelope | None, fetched: Iterable[Envelope]
) -> tuple[tuple[Envelope, ...], tuple[Envelope, ...]]:
    """Of what was found after an election: parents, and what is left out.

    Left out are those another one descends from, and leftovers of a machine that was off for long: see `is_leftover`.
    """
    found = in_order(own, fetched)
    forefathers = {hash for envelope in found for hash, _ in envelope.ancestors}
    newest = max(found, key=lambda envelope: (envelope.timestamp, envelope.hash), default=None)
    kept = tuple(
        envelope
        for envelope in found
        if envelope is newest or (envelope.hash not in forefathers and not is_leftover(envelope.timestamp, newest))
    )
    return kept, tuple(envelope for envelope in found if envelope not in kept)


def is_leftover(timestamp: int, newest: Envelope | None) -> bool:
    """Older than all ancestors the newest schedule can name. As long as its list has room it names all there are, and
    what is not among them is foreign, however old."""
    if newest is None or len(newest.ancestors) < ANCESTORS_MAX:
        return False
    return timestamp < min(stamp for _, stamp in newest.ancestors)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduler's result, cut into what is hashed and what is not."""

    data: dict[str, Any]
    changes: tuple[str, ...]
    next_run: int | None
    misshapen: tuple[str, ...]  # what had the wrong type and was treated as empty


_OBJECTS: Final = ("vars", "roles", "nodes", "query_metrics", "images", "jobs", "dc")


def take_apart(result: dict[str, Any]) -> Outcome:
    """Check the shape of a scheduler's result; `[]` where an object is expected is an empty object."""
    data, misshapen = dict(result), []
    for key in _OBJECTS:
        if key in data and not isinstance(data[key], dict):
            if data[key] != []:
                misshapen.append(f"`{key}` is {_kind(data[key])}; an object would be right")
            data[key] = {}
    if "nodes" in data:
        data["nodes"] = _nodes(data["nodes"], misshapen)
    changes = data.pop("changes", [])
    if not isinstance(changes, list) or not all(isinstance(line, str) for line in changes):
        misshapen.append(f"`changes` is {_kind(changes)}; a list of texts would be right")
        changes = []
    next_run = data.pop("next_run", None)
    if next_run is not None and (not isinstance(next_run, int) or isinstance(next_run, bool)):
        misshapen.append(f"`next_run` is {_kind(next_run)}; milliseconds since 1970 would be right")
        next_run = None
    return Outcome(data=data, changes=_bounded(changes), next_run=next_run, misshapen=tuple(misshapen))


def _nodes(nodes: dict[str, Any], misshapen: list[str]) -> dict[str, Any]:
    """Every node an object with `roles` and `vars` that are objects."""
    checked: dict[str, Any] = {}
    for name, node in nodes.items():
        if not isinstance(node, dict):
            misshapen.append(f"`nodes.{name}` is {_kind(node)}; an object would be right")
            node = {}
        node = dict(node)
        for key in ("roles", "vars"):
            if key in node and not isinstance(node[key], dict):
                if node[key] != []:
                    misshapen.append(f"`nodes.{name}.{key}` is {_kind(node[key])}; an object would be right")
                node[key] = {}
        checked[name] = node
    return checked


def _bounded(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.encode()[:CHANGE_BYTES_MAX].decode(errors="ignore") for line in lines[:CHANGES_MAX])


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


class Shelf:
    """Envelopes that others may still ask for by hash: own ones, parents, the last known one."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, tuple[Envelope, bytes]] = OrderedDict()
        self._bytes = 0

    def put(self, envelope: Envelope) -> None:
        known = self._texts.pop(envelope.hash, None)
        if known is not None:
            self._bytes -= len(known[1])
        text = encode(envelope)
        self._texts[envelope.hash] = (envelope, text)
        self._bytes += len(text)
        while len(self._texts) > OWN_KEPT or (self._bytes > SHELF_BYTES_MAX and len(self._texts) > 1):
            self._bytes -= len(self._texts.popitem(last=False)[1][1])

    def get(self, hash: str) -> Envelope | None:
        found = self._texts.get(hash)
        return None if found is None else found[0]

    def text(self, hash: str) -> bytes | None:
        """As it is sent, made once."""
        found = self._texts.get(hash)
        return None if found is None else found[1]
