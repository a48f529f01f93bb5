"""What others see of the slots: status.json, the levels of the metrics, and which sockets must stay open."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from manor.lithos.files.processes import entry_of_instance
from manor.lithos.files.record import UNWELL
from manor.lithos.files.status import InstanceState, InstanceStatus
from manor.lithos.rules.ports import Address
from manor.lithos.supervision.desired import Broken
from manor.lithos.supervision.phases import ON_ITS_WAY_OUT, PUBLISHED, Phase
from manor.lithos.supervision.slot import Slot


def addresses_in_use(slots: Iterable[Slot], now: float, *, stopping: bool) -> frozenset[Address]:
    """The shared sockets of what runs, and of an upgrade or a start that is under way."""
    used: set[Address] = set()
    for slot in slots:
        if slot.record is not None and slot.phase is not Phase.CLEANING:
            used.update(Address.parse(text) for text in slot.record.ports)
        starts_now = slot.phase in (Phase.WAITING, Phase.CLEANING) and slot.not_before <= now
        if slot.instance is not None and not stopping and (slot.upgrading or starts_now):
            used.update(port.address for port in slot.instance.ports if port.shared)
    return frozenset(used)


def levels(slots: Collection[Slot], sandboxes: int) -> Mapping[str, int]:
    """The gauges of groups `master` and `containers`, and `ENTRY running` and `ENTRY ready` per entry."""
    known = [slot for slot in slots if slot.instance is not None or slot.broken is not None]
    found = {
        "sandboxes": sandboxes,
        "containers": len(known),
        "queue": sum(slot.phase in (Phase.WAITING, Phase.STOPPING) for slot in slots),
        "running": sum(slot.alive for slot in known),
        "unknown": sum(slot.alive for slot in slots) - sum(slot.alive for slot in known),
    }
    for slot in known:
        running, ready = f"{slot.name.entry} running", f"{slot.name.entry} ready"
        found[running] = found.get(running, 0) + slot.alive
        found[ready] = found.get(ready, 0) + (slot.phase is Phase.READY)
    return found


def statuses(slots: Iterable[Slot], to_epoch_s: float) -> tuple[InstanceStatus, ...]:
    """Every instance by name; to_epoch_s added to a time of the core's clock gives seconds since 1970."""
    there = (slot for slot in slots if slot.phase is not Phase.GONE)
    return tuple(_status(slot, to_epoch_s) for slot in sorted(there, key=lambda slot: slot.text))


def _status(slot: Slot, to_epoch_s: float) -> InstanceStatus:
    record = slot.record
    image, config, address = _what_runs(slot)
    return InstanceStatus(
        name=slot.text,
        image=image,
        config=config,
        state=_state(slot),
        since=round((slot.since + to_epoch_s) * 1000),
        pid=record.main_pid if record is not None and slot.alive else None,
        restarts=slot.restarts,
        ports={text.rpartition(":")[2]: fd for text, fd in record.ports.items()} if record is not None else {},
        address=address,
        error=slot.error,
    )


def _state(slot: Slot) -> InstanceState:
    unwell = slot.record is not None and slot.record.stop_reason == UNWELL
    if unwell and slot.phase in ON_ITS_WAY_OUT and slot.ever_ready:
        return "unhealthy"
    if slot.phase is Phase.CLEANING and slot.instance is None:
        return "stopping"
    return PUBLISHED[slot.phase]


def _what_runs(slot: Slot) -> tuple[str, str, str | None]:
    """Image, config and address: of the container if there is one, else of what is wanted."""
    if slot.record is not None:
        entry = entry_of_instance(slot.record.config)
        return entry.image, entry.config, next(iter(entry.ip_addresses), None)
    if slot.instance is not None:
        return slot.instance.entry.image, slot.instance.entry.config, None
    broken = slot.broken or Broken("", "", "")
    return broken.image, broken.config, None
