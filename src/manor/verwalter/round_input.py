"""The one document a scheduler is given: everything known, put together from frozen parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from manor.verwalter.election.machine import needed_votes
from manor.verwalter.membership import Peer
from manor.verwalter.metadata import Tree
from manor.verwalter.schedule import Envelope, Stamp
from manor.verwalter.settings import Scheduler


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer with what its packets and reports said last."""

    peer: Peer
    responsive: bool
    age_ms: int | None  # since anything was heard of it
    stamp: Stamp | None = None
    errors: int = 0
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a round is about, as it was at its start."""

    now_ms: int
    own_id: str
    own_hostname: str
    own_name: str
    own_address: str
    own_errors: int
    own_report: Mapping[str, Any] | None
    port: int
    cluster: str
    dc: str
    epoch: int
    round: int
    parents: Sequence[Envelope]
    actions: Mapping[str, Any]
    runtime: Tree
    peers: Sequence[KnownPeer]
    counted: int  # nodes of the cluster, this one included
    responsive: int
    minority_allowed: bool
    limits: Scheduler
    metrics: Mapping[str, Any] = field(default_factory=dict)
    metrics_error: str | None = None


def scheduler_input(situation: Situation) -> dict[str, Any]:
    """The document; nothing in it is shared with what may change later, but for parents, which nobody changes."""
    this = situation
    return {
        "now": this.now_ms,
        "current_host": this.own_hostname,
        "current_id": this.own_id,
        "parents": [parent.data for parent in this.parents],
        "parent_info": [_parent_info(parent, this) for parent in this.parents],
        "actions": dict(this.actions),
        "runtime": this.runtime.values,
        "runtime_err": [msgspec.structs.asdict(trouble) for trouble in this.runtime.troubles],
        "peers": {known.peer.id: _peer(known, this.port) for known in this.peers},
        "nodes": nodes_document(this),
        "metrics": dict(this.metrics),
        "metrics_error": this.metrics_error,
        "partition": {
            "total": this.counted,
            "responsive": this.responsive,
            "majority": this.responsive >= needed_votes(this.counted),
            "minority_allowed": this.minority_allowed,
        },
        "dcs": {},
        "leases": {},
        "epoch": this.epoch,
        "round": this.round,
        "cluster": this.cluster,
        "dc": this.dc,
        "limits": {
            "timeout_ms": int(1000 * this.limits.timeout),
            "memory": this.limits.memory,
            "instructions": this.limits.instructions,
        },
    }


def nodes_document(this: Situation) -> dict[str, Any]:
    """All nodes by host name, the leader included. Of two with one name the lower id owns it."""
    nodes = {
        this.own_hostname: {
            "id": this.own_id,
            "name": this.own_name,
            "addr": this.own_address,
            "self": True,
            "responsive": True,
            "age_ms": 0,
            "errors": this.own_errors,
            "report": this.own_report,
        }
    }
    for known in sorted(this.peers, key=lambda known: known.peer.id):
        peer = known.peer
        owner = nodes.get(peer.hostname)
        if owner is not None and str(owner["id"]) < peer.id:
            continue
        nodes[peer.hostname] = {
            "id": peer.id,
            "name": peer.name,
            "addr": address_of(peer, this.port),
            "self": False,
            "responsive": known.responsive,
            "age_ms": known.age_ms,
            "errors": known.errors,
            "report": known.report,
        }
    return dict(sorted(nodes.items()))


def address_of(peer: Peer, port: int) -> str | None:
    """Where a peer's daemon listens: its address with the port all nodes have in common."""
    if peer.address is None:
        return None
    return f"[{peer.address}]:{port}" if ":" in peer.address else f"{peer.address}:{port}"


def _peer(known: KnownPeer, port: int) -> dict[str, Any]:
    peer, stamp = known.peer, known.stamp
    return {
        "id": peer.id,
        "addr": address_of(peer, port),
        "name": peer.name,
        "hostname": peer.hostname,
        "known_since": peer.known_since,
        "last_report_direct": peer.last_report_direct,
        "schedule": None if stamp is None else stamp_document(stamp),
        "errors": known.errors,
    }


def stamp_document(stamp: Stamp) -> dict[str, Any]:
    return {"timestamp": stamp.timestamp, "hash": stamp.hash, "origin": stamp.origin}


def _parent_info(parent: Envelope, this: Situation) -> dict[str, Any]:
    hosts = {known.peer.id: known.peer.hostname for known in this.peers} | {this.own_id: this.own_hostname}
    return {
        "hash": parent.hash,
        "timestamp": parent.timestamp,
        "origin": parent.origin,
        "epoch": parent.epoch,
        "host": hosts.get(parent.origin),
    }
