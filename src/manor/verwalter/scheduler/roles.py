"""`roles.yaml` as a scheduler: the input of a round in, a schedule out. Start reading here.

    parents' states --merge--> state --actions, updates--> wanted counts per version --placement--> schedule

Every step is a function in a file of its own. Roles are taken in order of priority, then of name; equal input gives
byte-equal output, and a round that decides nothing gives the schedule of the round before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from manor.verwalter.scheduler import updates
from manor.verwalter.scheduler.actions import Refused, RoleRound, apply_action, start_update
from manor.verwalter.scheduler.declaration import Daemon, Declaration, PerNode, Role, Servers, read_declaration
from manor.verwalter.scheduler.merge import InvalidState, Parent, merge_cluster, merge_role, read_parents
from manor.verwalter.scheduler.nodes import RESOURCES, Liveness, Node, read_nodes
from manor.verwalter.scheduler.placement import Budget, Placed, Room, place, place_on_each, spread_share
from manor.verwalter.scheduler.state import ClusterState, RoleState, plain
from manor.verwalter.scheduler.versions import Version, Versions, alive, read_versions

Schedule = dict[str, Any]
Answers = dict[str, Any]
RunRound = Callable[[Mapping[str, Any]], tuple[Schedule, str, Answers]]

# When more than this share of the nodes died lately, a partition is more likely than a fire: move slowly.
MASS_DEATH_SHARE = 0.3
MASS_DEATH_WINDOW_MS = 5 * 60 * 1000
MASS_DEATH_MOVES = 0.1
BUSY_ROUND_MS = 1000  # while something is under way the next round is asked for this soon


def load_roles(path: Path) -> RunRound:
    """Read a `roles.yaml`; the result is a pure function of a round's input.

    Raises:
        ConfigError: with the position of every problem.
    """
    declaration = read_declaration(path)
    return lambda document: run_round(declaration, document)


def run_round(declaration: Declaration, document: Mapping[str, Any]) -> tuple[Schedule, str, Answers]:
    """One round.

    Returns:
        the schedule, the debug log, and the answers to actions by their ids.
    """
    this = _Round(declaration, document)
    for name in this.order:
        this.prepare(name)
    this.apply_actions()
    for name in this.order:
        if name in this.rounds:
            this.evaluate(name)
    return this.finish()


@dataclass(slots=True)
class _Outcome:
    """What a role contributes to the schedule."""

    roles: dict[str, Any]
    nodes: dict[str, dict[str, Any]]  # host name -> variables of the role there
    state: dict[str, Any]
    images: list[str] = field(default_factory=list)


class _Round:
    """The working table of one round; discarded at its end."""

    def __init__(self, declaration: Declaration, document: Mapping[str, Any]) -> None:
        self.declaration = declaration
        self.document = document
        self.now = int(document["now"])
        self.parents = read_parents(document)
        self.nodes = read_nodes(declaration, document.get("nodes") or {})
        self.room = Room(self.nodes)
        self.majority = bool((document.get("partition") or {}).get("majority", True))
        self.order = sorted(declaration.roles, key=lambda name: (-declaration.roles[name].priority, name))
        self.rounds: dict[str, RoleRound] = {}
        self.outcomes: dict[str, _Outcome] = {}
        self.changes: list[str] = []
        self.answers: Answers = {}
        self.log: list[str] = []
        self.busy = False
        self.cluster = self._deaths(merge_cluster(self.parents))
        self.budget = self._budget()

    def _deaths(self, cluster: ClusterState) -> ClusterState:
        died = {host: at for host, at in cluster.died.items() if host not in self.nodes or self._is_dead(host)}
        for host in self.nodes:
            if self._is_dead(host) and host not in died:
                died[host] = self.now
                self.changes.append(f"_cluster: {host} is dead")
        return ClusterState(died=dict(sorted(died.items())))

    def _is_dead(self, host: str) -> bool:
        return self.nodes[host].liveness is Liveness.DEAD

    def _budget(self) -> Budget:
        """No limit, unless so many nodes died together that a partition is likelier."""
        fresh = [at for at in self.cluster.died.values() if self.now - at <= MASS_DEATH_WINDOW_MS]
        if not self.nodes or len(fresh) <= MASS_DEATH_SHARE * len(self.nodes):
            return Budget()
        newest = self.parents[0].data.get("state", {}) if self.parents else {}
        instances = sum(
            count
            for name in self.declaration.roles
            if isinstance(newest.get(name), Mapping)
            for slots in newest[name].get("place", {}).values()
            for counts in slots.values()
            for count in counts.values()
        )
        return Budget(max(1, int(instances * MASS_DEATH_MOVES)))

    def prepare(self, name: str) -> None:
        """Merge the role's state and settle its version; a role whose state cannot be read is frozen."""
        role = self.declaration.roles[name]
        versions = read_versions(role, (self.document.get("runtime") or {}).get(role.runtime or name) or {})
        hashes = {host: ((value.get("report") or {}).get("schedule")) for host, value in self.document["nodes"].items()}
        try:
            state = merge_role(name, self.parents, hashes)
        except InvalidState:
            self.outcomes[name] = self._frozen(name)
            return
        if state is None:
            first = role.version.pin if role.version.policy == "pinned" else next(iter(versions.newest_first), None)
            if first is None or first not in versions.usable:
                self.outcomes[name] = self._empty(name, role, versions)
                return
            state = RoleState(version=first, version_ts=self.now, slots={"a": first})
            self.changes.append(f"{name}: first version {first}")
        self.rounds[name] = RoleRound(name, role, versions, state, lambda state: self.totals(role, state))

    def apply_actions(self) -> None:
        for key, document in sorted(
            (self.document.get("actions") or {}).items(), key=lambda item: _action_order(item[0])
        ):
            button = document.get("button") if isinstance(document, Mapping) else None
            if not isinstance(button, Mapping):
                self.answers[key] = {"ok": False, "error": "no `button` in the action"}
                continue
            by = str(document.get("by") or "")
            name = button.get("role")
            target = self.rounds.get(name) if isinstance(name, str) else None
            try:
                if target is None:
                    raise Refused(
                        f"unknown role `{name}`" if name not in self.outcomes else f"role `{name}` has no version"
                    )
                if not self.majority and target.role.in_minority == "keep":
                    raise Refused("this side of the partition has no majority; nothing is decided here")
                text = apply_action(target, button, by, self.now)
            except Refused as refused:
                self.answers[key] = {"ok": False, "error": str(refused)}
            else:
                self.answers[key] = {"ok": True, "message": text}
                self.changes.append(f"{name}: {text}" + (f" (by {by})" if by else ""))

    def totals(self, role: Role, state: RoleState) -> dict[str, int]:
        """Daemon -> instances wanted in the whole data centre."""
        result = {}
        for key, daemon in role.daemons.items():
            fixed, per_node = self.wanted(key, daemon, state)
            result[key] = sum(per_node.values()) if per_node is not None else fixed
        return result

    def wanted(self, key: str, daemon: Daemon, state: RoleState) -> tuple[int, dict[str, int] | None]:
        """The number, or host name -> number for the forms that name nodes."""
        override = state.overrides.get(key)
        match daemon.instances:
            case PerNode(per_node=count):
                hosts = [host for host, node in self.nodes.items() if self._may_have(daemon, node)]
                return 0, dict.fromkeys(hosts, count if override is None else override)
            case Servers(servers=servers, number_per_server=count):
                hosts = [host for host in servers if host in self.nodes and not self._is_dead(host)]
                return 0, dict.fromkeys(hosts, count if override is None else override)
            case int(count):
                return (count if override is None else override), None
        raise AssertionError(daemon.instances)

    def _may_have(self, daemon: Daemon, node: Node) -> bool:
        if node.liveness is Liveness.DEAD:
            return False
        return node.satisfies(daemon.placement.require) if node.reported else not daemon.placement.require

    # -- one role

    def evaluate(self, name: str) -> None:
        this = self.rounds[name]
        role, state = this.role, this.state
        frozen_by_minority = not self.majority and role.in_minority == "keep"
        if not frozen_by_minority:
            state = self._tick(name, this)
        if state.version not in this.versions.usable:
            self.log.append(f"{name}: version {state.version} is not usable: {this.versions.bad.get(state.version)}")
            self.outcomes[name] = self._frozen(name)
            return
        stop = not self.majority and role.in_minority == "stop"
        placed = {
            key: self._place(this, state, key, daemon, stop=stop, keep=frozen_by_minority)
            for key, daemon in sorted(role.daemons.items())
        }
        place = {
            key: {slot: dict(sorted(counts.items())) for slot, counts in sorted(one.slots.items()) if counts}
            for key, one in placed.items()
        }
        here = {host for slots in place.values() for counts in slots.values() for host in counts}
        state = msgspec.structs.replace(
            state, place={key: slots for key, slots in place.items() if slots}, hosts=sorted({*state.hosts, *here})
        )
        self.outcomes[name] = self._outcome(name, this, state, placed)

    def _tick(self, name: str, this: RoleRound) -> RoleState:
        role, state = this.role, this.state
        if state.update is None:
            automatic = state.auto_update if state.auto_update is not None else role.version.policy == "latest"
            newest = next(iter(this.versions.newest_first), None)
            if automatic and newest is not None and newest != state.version and newest not in state.failed:
                try:
                    text = start_update(this, {"to_version": newest}, self.now, auto=True)
                    self.changes.append(f"{name}: {text} (automatic)")
                except Refused as refused:
                    self.log.append(f"{name}: automatic update to {newest} refused: {refused}")
        elif state.update.target_ver in this.versions.usable and state.update.source_ver in this.versions.usable:
            progress = self._progress(this)
            this.state, lines = updates.tick(state, role.update, progress, self.now)
            self.changes += [f"{name}: {line}" for line in lines]
            self.log.append(f"{name}: {progress} {this.state.update}")
        self.busy |= this.state.update is not None
        return this.state

    def _progress(self, this: RoleRound) -> updates.Progress:
        state, role = this.state, this.role
        update = state.update
        assert update is not None
        percent = updates.target_percent(update)
        reached, missing = True, False
        for key, daemon in role.daemons.items():
            target, source = (
                self._scheduled(state, key, update.target_ver),
                self._scheduled(state, key, update.source_ver),
            )
            goal_target, goal_source = self._goals(key, daemon, state, percent)
            ready_target = self._ready(this, state, key, update.target_ver)
            ready_source = self._ready(this, state, key, update.source_ver)
            missing |= ready_target < target
            if update.heading == "forward":
                reached &= target >= goal_target and source <= goal_source and ready_target >= goal_target
            else:
                reached &= source >= goal_source and target <= goal_target and ready_source >= goal_source
        return updates.Progress(reached, missing, self._images_present(this, update.target_ver))

    def _goals(self, key: str, daemon: Daemon, state: RoleState, percent: float) -> tuple[int, int]:
        fixed, per_node = self.wanted(key, daemon, state)
        if per_node is None:
            return updates.goals(fixed, percent)
        share = max(per_node.values(), default=0)
        target, source = spread_share(share, sorted(per_node), percent, 0)
        return sum(target.values()), sum(source.values())

    def _scheduled(self, state: RoleState, key: str, version: str) -> int:
        return sum(state.place.get(key, {}).get(state.slot_of(version) or "", {}).values())

    def _ready(self, this: RoleRound, state: RoleState, key: str, version: str, host: str | None = None) -> int:
        slot = state.slot_of(version)
        if slot is None or version not in this.versions.usable:
            return 0
        counts = state.place.get(key, {}).get(slot, {})
        if host is not None:
            counts = {host: counts[host]} if host in counts else {}
        return updates.ready_instances(
            self.nodes,
            f"{this.role.sandbox or this.name}/{key}-{slot}",
            counts,
            this.versions.usable[version].daemons[key].image,
            self.now,
            this.role.update,
            scheduled_since=state.update.change_ts if state.update else state.version_ts,
        )

    def _images_present(self, this: RoleRound, version: str) -> bool:
        sandbox = this.role.sandbox or this.name
        for key, daemon in this.role.daemons.items():
            image = this.versions.usable[version].daemons[key].image
            for node in self.nodes.values():
                if node.liveness is not Liveness.ALIVE or not self._may_have(daemon, node):
                    continue
                if not node.reported or image not in node.images.get(sandbox, frozenset({image})):
                    return False
        return True

    def _place(self, this: RoleRound, state: RoleState, key: str, daemon: Daemon, *, stop: bool, keep: bool) -> Placed:
        need = self._need(this, state, key, daemon)
        before = state.place.get(key, {})
        if keep:
            return Placed({slot: dict(counts) for slot, counts in before.items()})
        fixed, per_node = self.wanted(key, daemon, state)
        if stop:
            fixed, per_node = 0, None
        update = state.update
        if update is None:
            slot = state.slot_of(state.version) or "a"
            if per_node is not None:
                return place_on_each({slot: per_node}, self.nodes, self.room, need)
            return self._place_counts(this, key, daemon, {slot: fixed}, before, need)
        forward = update.heading == "forward"
        percent = updates.target_percent(update)
        grows, shrinks = (update.target_ver, update.source_ver) if forward else (update.source_ver, update.target_ver)
        slot_up, slot_down = state.slot_of(grows) or "a", state.slot_of(shrinks) or "b"
        if per_node is None:
            goal_target, goal_source = updates.goals(fixed, percent)
            goal_up, goal_down = (goal_target, goal_source) if forward else (goal_source, goal_target)
            up, down = updates.approach(
                self._scheduled(state, key, grows), self._scheduled(state, key, shrinks), goal_up, goal_down, fixed,
                self._ready(this, state, key, grows), role_update(this.role, daemon),
            )  # fmt: skip
            return self._place_counts(this, key, daemon, {slot_down: down, slot_up: up}, before, need)
        share = max(per_node.values(), default=0)
        target, source = spread_share(share, sorted(per_node), percent, 0)
        ups, downs = (target, source) if forward else (source, target)
        wanted: dict[str, dict[str, int]] = {slot_up: {}, slot_down: {}}
        for host in per_node:
            wanted[slot_up][host], wanted[slot_down][host] = updates.approach(
                before.get(slot_up, {}).get(host, 0), before.get(slot_down, {}).get(host, 0), ups[host], downs[host],
                share, self._ready(this, state, key, grows, host), role_update(this.role, daemon),
            )  # fmt: skip
        return place_on_each(wanted, self.nodes, self.room, need)

    def _place_counts(
        self, this: RoleRound, key: str, daemon: Daemon, wanted: Mapping[str, int],
        before: Mapping[str, Mapping[str, int]], need: Mapping[str, float],
    ) -> Placed:  # fmt: skip
        return place(this.name, key, daemon, wanted, before, self.nodes, self.room, need, self.budget)

    def _need(self, this: RoleRound, state: RoleState, key: str, daemon: Daemon) -> dict[str, float]:
        resources = daemon.resources or this.versions.usable[state.version].daemons[key].resources
        amounts = {name: getattr(resources, name) for name in RESOURCES} if resources else {"slots": 1}
        return {name: amount for name, amount in amounts.items() if amount}

    # -- output

    def _outcome(self, name: str, this: RoleRound, state: RoleState, placed: Mapping[str, Placed]) -> _Outcome:
        role, versions = this.role, this.versions
        update = state.update
        kept = alive(
            versions,
            role,
            named=(state.version, *((update.source_ver, update.target_ver) if update else ())),
            last_deployed=state.last_deployed,
            now=self.now,
        )
        images = sorted({image for version in kept for image in versions.usable[version].images})
        unplaced = {key: one.unplaced for key, one in placed.items() if one.unplaced}
        self._note_unplaced(name, unplaced)
        self.busy |= bool(unplaced) and self.budget.left is not None
        nodes = {
            host: self._node_part(role, versions, state, host)
            for host in state.hosts
            if host in self.nodes and not self._is_dead(host)
        }
        info: dict[str, Any] = {"title": role.title or name}
        if role.info:
            info["text"] = role.info
        part: dict[str, Any] = {
            **role.vars,
            "template": role.template,
            "frontend": {"kind": "declarative", "buttons": ["start_update", "scale"]},
            "version": state.version,
            "versions": kept,
            "version_info": {version: {"images": list(versions.usable[version].images)} for version in kept},
            "images": images,
            "unplaced": unplaced,
            "info": info,
        }
        if versions.bad:
            part["bad_versions"] = dict(versions.bad)
        if update is not None:
            stage = next((stage for stage in update.pipeline if stage.name == update.step), None)
            part["info"]["update"] = (
                f"{update.step} {update.smooth_step}/{stage.substeps if stage else 0} {update.direction}"
            )
            part["badge"] = f"{int(updates.target_percent(update))}%"
        return _Outcome(part, nodes, plain(state), images)

    def _note_unplaced(self, name: str, unplaced: Mapping[str, int]) -> None:
        before: object = {}
        if self.parents:
            before = ((self.parents[0].data.get("roles") or {}).get(name) or {}).get("unplaced", {})
        if unplaced != before:
            text = ", ".join(f"{count} of {key}" for key, count in sorted(unplaced.items()))
            self.changes.append(f"{name}: unplaced: {text}" if text else f"{name}: everything is placed")

    def _node_part(self, role: Role, versions: Versions, state: RoleState, host: str) -> dict[str, Any]:
        daemons = {}
        for key, slots in sorted(state.place.items()):
            for slot, counts in sorted(slots.items()):
                version = state.slots.get(slot)
                if not counts.get(host) or version is None or version not in versions.usable:
                    continue
                process = versions.usable[version].daemons[key]
                daemons[f"{key}-{slot}"] = {
                    "key": f"{key}-{slot}",
                    "daemon": key,
                    "slot": slot,
                    "version": version,
                    "image": process.image,
                    "config": process.config,
                    "instances": counts[host],
                    "variables": dict(role.daemons[key].variables),
                }
        commands = _commands(role, versions.usable[state.version]) if daemons else {}
        return {
            "daemons": daemons,
            "commands": commands,
            "active": state.slot_of(state.version) or "a",
            "generation": 0,
        }

    def _frozen(self, name: str) -> _Outcome:
        """The newest parent's part of the role, unchanged."""
        newest: Parent | None = next((parent for parent in self.parents if parent.role_state(name) is not None), None)
        data: Mapping[str, Any] = newest.data if newest else {}
        part = dict((data.get("roles") or {}).get(name) or {"template": self.declaration.roles[name].template})
        part["info"] = {**(part.get("info") or {}), "error": "state_invalid"}
        self.changes.append(f"{name}: frozen, its state or version cannot be used")
        nodes = {
            host: value["roles"][name]
            for host, value in (data.get("nodes") or {}).items()
            if name in (value.get("roles") or {})
        }
        state = newest.role_state(name) if newest else {}
        return _Outcome(part, nodes, state, list(part.get("images") or []))  # type: ignore[arg-type]

    def _empty(self, name: str, role: Role, versions: Versions) -> _Outcome:
        pin = role.version.pin
        why = f"version {pin} is missing" if pin else "no version that can be used"
        part: dict[str, Any] = {**role.vars, "template": role.template, "versions": [], "info": {"error": why}}
        if versions.bad:
            part["bad_versions"] = dict(versions.bad)
        return _Outcome(part, {}, {})

    def finish(self) -> tuple[Schedule, str, Answers]:
        nodes: dict[str, Any] = {
            host: {"roles": {}} for host, node in self.nodes.items() if node.liveness is not Liveness.DEAD
        }
        images: dict[str, list[str]] = {}
        for name, outcome in sorted(self.outcomes.items()):
            for host, part in sorted(outcome.nodes.items()):
                if host in nodes:
                    nodes[host]["roles"][name] = part
            if outcome.images:
                sandbox = self.declaration.roles[name].sandbox or name
                images[sandbox] = sorted({*images.get(sandbox, []), *outcome.images})
        state = {name: outcome.state for name, outcome in sorted(self.outcomes.items()) if outcome.state}
        if cluster := plain(self.cluster):
            state["_cluster"] = cluster
        schedule: Schedule = {
            "vars": dict(self.declaration.vars),
            "roles": {name: outcome.roles for name, outcome in sorted(self.outcomes.items())},
            "nodes": nodes,
            "state": state,
            "query_metrics": {"rules": {}},
            "images": images,
            "jobs": {},
            "changes": self.changes,
        }
        if self.busy:
            schedule["next_run"] = self.now + BUSY_ROUND_MS
        return schedule, "\n".join([*self.changes, *self.log]), self.answers


def role_update(role: Role, daemon: Daemon) -> Any:
    return daemon.update or role.update


def _commands(role: Role, version: Version) -> dict[str, Any]:
    return {
        key: {
            "key": key,
            "kind": "Command",
            "version": version.name,
            "image": version.commands[key].image,
            "config": version.commands[key].config,
            "variables": dict(command.variables),
        }
        for key, command in sorted(role.commands.items())
    }


def _action_order(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (0, key)
