"""What this daemon says of itself: status, election, numbers."""

from __future__ import annotations

import time
from typing import Any, Final

from manor import VERSION
from manor.verwalter.election.machine import Electing, Leader, Voted
from manor.verwalter.links.rounds import Rounds
from manor.verwalter.node import Node
from manor.verwalter.transport.core import Prefetching, Replicating, StableLeader

ELECTION_COUNTERS: Final = (
    "start_election", "ping_all", "outdated", "ping", "pong", "vote_confirm", "became_leader", "vote_for_me",
    "vote_other", "late_vote", "newer_ping", "new_vote", "bad_hosts", "self_elect", "elect_start", "elect_timeo",
    "elect_voted", "elect_unresponsive", "elect_conflict", "elect_unsolicit_pong", "elect_newer_pong", "sticky",
    "epoch_lift", "quorum_lost", "overslept", "unsolicited_pong",
)  # fmt: skip


def status(node: Node, rounds: Rounds, default_frontend: str) -> dict[str, Any]:
    identity, transport, deployer = node.identity, node.transport, node.deployer
    return {
        "version": f"v{VERSION}",
        "id": identity.id,
        "name": identity.name,
        "hostname": identity.hostname,
        "cluster": identity.cluster,
        "dc": identity.dc,
        "peers": len(node.membership.peers),
        "peers_timestamp": node.membership.last_good_ms or None,
        "leader": leader(node),
        "roles": deployer.number_of_roles,
        "failed_roles": list(deployer.failed),
        "orphaned_roles": list(deployer.orphaned),
        "num_errors": node.errors_counted(),
        "errors": dict(sorted(node.errors.items())),
        "last_stable_timestamp": node.leader_seen_ms,
        "schedule_id": None if transport.stable is None else transport.stable.hash,
        "schedule_status": transport.schedule_status,
        "fetch_state": fetch_state(node),
        "election_state": election(node),
        "debug_force_leader": node.force_leader,
        "default_frontend": default_frontend,
        "scheduler": scheduler(node, rounds),
        "metrics": metrics(node),
    }


def leader(node: Node) -> dict[str, Any] | None:
    """Who leads as far as this node knows, itself included."""
    id = node.election.leader
    if id is None:
        return None
    if id == node.identity.id:
        name, hostname, stamp = node.identity.name, node.identity.hostname, node.transport.stamp
    else:
        peer = node.membership.peers.get(id)
        name, hostname = (peer.name, peer.hostname) if peer is not None else (id, id)
        stamp = node.heard[id].stamp if id in node.heard else None
    return {
        "id": id,
        "name": name,
        "hostname": hostname,
        "addr": node.leader_address(),
        "schedule": None if stamp is None else stamp.hash,
    }


def fetch_state(node: Node) -> dict[str, Any]:
    state = node.transport.state
    match state:
        case Prefetching(graceful=graceful):
            return {"state": "Prefetching", "phase": "Graceful" if graceful else "Fetching"}
        case StableLeader():
            return {"state": "StableLeader"}
        case Replicating(leader=id, target=target):
            return {"state": "Replicating", "leader": id, "schedule": None if target is None else target.hash}
    return {"state": "Unstable"}


def election(node: Node) -> dict[str, Any]:
    now, wall_ms = time.monotonic(), int(time.time() * 1000)
    machine, view = node.election, node.view(now)
    state = machine.state
    return {
        "is_leader": isinstance(state, Leader),
        "is_stable": machine.leader is not None,
        "leader": machine.leader,
        "promoting": node.identity.id if isinstance(state, Electing) else _promoted(state),
        "num_votes_for_me": len(state.votes) if isinstance(state, Electing) else None,
        "needed_votes": view.needed,
        "epoch": machine.epoch,
        "deadline": _wall(machine.deadline, now, wall_ms),
        "last_stable_timestamp": node.leader_seen_ms,
        "state": type(state).__name__,
        "counted_peers": len(view.counted),
        "fresh": view.fresh,
        "may_stand": machine.may_stand(now, view),
        "events": [
            {
                "at": _wall(change.at, now, wall_ms),
                "from": change.before,
                "to": change.after,
                "epoch": change.epoch,
                "reason": change.reason,
            }
            for change in machine.changes
        ],
    }


def scheduler(node: Node, rounds: Rounds) -> dict[str, Any]:
    worker, leadership = rounds.worker, node.leadership
    loaded = worker.loaded if worker is not None else None
    return {
        "engine": None if loaded is None else loaded.engine,
        "directory": None if worker is None else str(worker.directory),
        "hash": None if loaded is None else loaded.hash,
        "last_ms": round(node.figures.scheduling_ms, 3),
        "rounds": leadership.times.number if leadership is not None else 0,
        "failures_in_row": leadership.times.failures_in_row if leadership is not None else 0,
        "warnings": list(rounds.warnings),
        "shadows": {},
    }


def metrics(node: Node) -> dict[str, float]:
    """Name -> number; of each event of elections how often, and when it happened last."""
    now, wall_ms = time.monotonic(), int(time.time() * 1000)
    figures, machine = node.figures, node.election
    found: dict[str, float] = {
        "scheduling_time": round(figures.scheduling_ms, 3),
        "scheduler_succeeded": figures.rounds_succeeded,
        "scheduler_failed": figures.rounds_failed,
        "actions_executed": figures.actions_executed,
        "roles_failed": node.deployer.roles_failed,
        "render_time": round(node.deployer.last_ms, 3),
        "packets_dropped": sum(figures.bad_packets.values()),
    }
    for name in ELECTION_COUNTERS:
        at = machine.last_at.get(name)
        found[f"{name}_no"] = machine.counts[name]
        found[f"{name}_tm"] = 0 if at is None else _wall(at, now, wall_ms)
    return found


def _promoted(state: object) -> str | None:
    return state.peer if isinstance(state, Voted) else None


def _wall(moment: float, now: float, wall_ms: int) -> int:
    """A moment of the monotonic clock as milliseconds since 1970."""
    return wall_ms + int(1000 * (moment - now))
