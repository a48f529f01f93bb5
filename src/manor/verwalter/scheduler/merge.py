"""One state from those of several parents, when a partition has healed. The parents' order does not matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from manor.verwalter.scheduler.state import ClusterState, RoleState, Update, read_cluster_state, read_role_state
from manor.verwalter.scheduler.versions import order_key


@dataclass(frozen=True, slots=True)
class Parent:
    """A schedule this round starts from."""

    hash: str
    timestamp: int
    data: Mapping[str, Any]

    def role_state(self, role: str) -> object:
        states = self.data.get("state")
        return states.get(role) if isinstance(states, Mapping) else None


def read_parents(document: Mapping[str, Any]) -> list[Parent]:
    """The input's `parents` with their `parent_info`, newest first."""
    infos = document.get("parent_info") or []
    parents = []
    for number, data in enumerate(document.get("parents") or []):
        info = infos[number] if number < len(infos) else {}
        if isinstance(data, Mapping):
            parents.append(Parent(str(info.get("hash", "")), int(info.get("timestamp") or 0), data))
    return sorted(parents, key=lambda parent: (-parent.timestamp, parent.hash))


class InvalidState(Exception):
    """The state of a role cannot be read; the role is frozen."""


def merge_role(role: str, parents: Sequence[Parent], node_hashes: Mapping[str, str | None]) -> RoleState | None:
    """The role's state, None if no parent has one.

    Args:
        parents: newest first.
        node_hashes: host name -> hash of the schedule that the node reports as deployed.
    """
    states: list[tuple[Parent, RoleState]] = []
    for parent in parents:
        value = parent.role_state(role)
        if value is None:
            continue
        state = read_role_state(value)
        if state is None:
            raise InvalidState
        states.append((parent, state))
    if not states:
        return None
    if len(states) == 1:
        return states[0][1]
    all_states = [state for _, state in states]
    chosen = max(all_states, key=lambda state: (state.version_ts, order_key(state.version)))
    careful = max(all_states, key=lambda state: (state.auto_update_ts, state.auto_update is not True))
    overrides, overrides_ts = _later(all_states)
    merged = msgspec.structs.replace(
        chosen,
        update=_merge_updates(all_states, chosen),
        auto_update=careful.auto_update,
        auto_update_ts=careful.auto_update_ts,
        last_deployed=_union([state.last_deployed for state in all_states]),
        failed=_union([state.failed for state in all_states]),
        overrides=overrides,
        overrides_ts=overrides_ts,
        hosts=sorted({host for state in all_states for host in state.hosts}),
        place=_merge_places(states, node_hashes),
    )
    source = next((state for state in all_states if merged.update and state.update == merged.update), chosen)
    return msgspec.structs.replace(merged, slots=dict(source.slots))


def _merge_updates(states: Sequence[RoleState], chosen: RoleState) -> Update | None:
    updates = [state.update for state in states if state.update is not None]
    if not updates:
        return None
    if len(updates) < len(states):
        latest = max(updates, key=lambda update: (update.start_ts, update.id))
        return latest if latest.start_ts > chosen.version_ts else None
    newest = max((update.start_ts, update.id) for update in updates)
    same = [update for update in updates if (update.start_ts, update.id) == newest]
    return min(same, key=lambda update: (update.smooth_step, update.change_ts))  # the one further back skips nothing


def _later(states: Sequence[RoleState]) -> tuple[dict[str, int], dict[str, int]]:
    """Per daemon the override decided last; at equal times the smaller count. A removed one leaves its time behind."""
    best: dict[str, tuple[int, int, int | None]] = {}
    for state in states:
        for daemon, at in state.overrides_ts.items():
            count = state.overrides.get(daemon)
            candidate = (at, -(count if count is not None else -1), count)
            if daemon not in best or candidate[:2] > best[daemon][:2]:
                best[daemon] = candidate
    counts = {daemon: count for daemon, (_, _, count) in sorted(best.items()) if count is not None}
    return counts, {daemon: at for daemon, (at, _, _) in sorted(best.items())}


def _union(times: Sequence[Mapping[str, int]]) -> dict[str, int]:
    result: dict[str, int] = {}
    for one in times:
        for key, at in one.items():
            result[key] = max(at, result.get(key, 0))
    return dict(sorted(result.items()))


def _merge_places(
    states: Sequence[tuple[Parent, RoleState]], node_hashes: Mapping[str, str | None]
) -> dict[str, dict[str, dict[str, int]]]:
    """Per node the entry of the parent whose schedule the node has deployed, else of the newest."""
    by_hash = {parent.hash: state for parent, state in states}
    newest = states[0][1]
    hosts = sorted(
        {host for _, state in states for slots in state.place.values() for counts in slots.values() for host in counts}
    )
    merged: dict[str, dict[str, dict[str, int]]] = {}
    for host in hosts:
        source = by_hash.get(node_hashes.get(host) or "", newest)
        for daemon, slots in source.place.items():
            for slot, counts in slots.items():
                if host in counts:
                    merged.setdefault(daemon, {}).setdefault(slot, {})[host] = counts[host]
    return merged


def merge_cluster(parents: Sequence[Parent]) -> ClusterState:
    states = [read_cluster_state(parent.role_state("_cluster")) for parent in parents]
    return ClusterState(died=_union([state.died for state in states]))
