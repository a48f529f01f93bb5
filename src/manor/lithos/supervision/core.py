"""The supervision of all instances of one machine, without I/O.

Theory of operation. The files are read once per life of the process (a changed file means that the master executes
itself again), so what is wanted is fixed here, and only what runs changes. Each instance has a slot; `phases.py` says
how a slot may move. The caller first tells of every container found alive (`adopt`), then performs actions and tells
what came of them (`receive`), and calls `tick` not later than `next_tick_at`. All times are seconds of one clock that
does not jump and goes on across exec; records carry them from one life of the master to the next.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Final

from manor.lithos.files.names import InstanceName
from manor.lithos.files.record import UNWELL, Record
from manor.lithos.files.status import InstanceStatus
from manor.lithos.rules.ports import Address
from manor.lithos.rules.settle import Instance
from manor.lithos.supervision import messages as m
from manor.lithos.supervision import published
from manor.lithos.supervision.adoption import Fate, fate
from manor.lithos.supervision.desired import Desired
from manor.lithos.supervision.endings import counts_as_failure
from manor.lithos.supervision.phases import ON_ITS_WAY_OUT, Phase, Step
from manor.lithos.supervision.slot import ProbeCourse, Slot

MISSING_AWAITED_S: Final = 60.0  # how long an entry waits for one that does not exist
PROBE_GRACE_S: Final = 5.0  # an answer to a probe that comes later than its timeout and this is given up

Actions = list[m.Action]


class Supervisor:
    """Perform the actions in order; tick by `next_tick_at`."""

    def __init__(
        self,
        desired: Desired,
        *,
        now: float,
        boot_id: str,
        starts_at_once: int,
        restarts: Mapping[str, int] | None = None,
    ) -> None:
        """restarts: of the instances that were started before this life of the master."""
        self._desired = desired
        self._boot_id = boot_id
        self._starts_at_once = starts_at_once
        self._began_at = now
        self._ticked_at = now
        self._stopping = False
        self._holding = False
        self._warned_missing: set[tuple[str, str]] = set()
        earlier = restarts or {}
        self._slots: dict[str, Slot] = {}
        for name, instance in desired.instances.items():
            self._slots[name] = Slot(
                instance.name,
                Phase.WAITING,
                now,
                instance=instance,
                restarts=earlier.get(name, 0),
                started_before=name in earlier,
            )
        for name, broken in desired.broken.items():
            parsed = InstanceName.parse(name)
            self._slots[name] = Slot(
                parsed, Phase.BROKEN, now, broken=broken, error=broken.reason, restarts=earlier.get(name, 0)
            )
        self._members: dict[str, list[Slot]] = {}
        for slot in self._slots.values():
            self._members.setdefault(slot.name.entry, []).append(slot)

    # --- what runs when the master starts -------------------------------------------------------------------------

    def adopt(self, record: Record, now: float) -> Actions:
        """A container that is alive. Call for each before the first tick."""
        slot = self._slots.get(record.name)
        if slot is None:
            slot = self._slots[record.name] = Slot(InstanceName.parse(record.name), Phase.WAITING, now)
        slot.record = record
        slot.ever_ready = record.ready_at is not None
        slot.not_before = record.restart_min
        slot.since = record.started_at if record.ready_at is None else record.ready_at
        slot.phase = Phase.STARTING if record.ready_at is None else Phase.READY
        decided = fate(record.name, record.config, self._desired)
        actions: Actions = []
        if record.state == "stopping":
            slot.phase = Phase.DRAINING if record.term_sent_at is None else Phase.STOPPING
            slot.since = record.term_at if record.term_at is not None else slot.since
        slot.started_before = True
        if decided is Fate.KEEP:
            actions.append(m.Say("info", slot.name.sandbox, f'Adopted "{slot.text}" (pid {record.init_pid})'))
            if slot.phase is Phase.STARTING and (slot.instance is None or slot.instance.readiness is None):
                actions += self._became_ready(slot, now)
            return actions
        if decided is Fate.UPGRADE:
            slot.upgrading, slot.ever_ready = True, False
        else:
            slot.instance = None
        if record.state != "stopping":
            word = "Upgrading" if decided is Fate.UPGRADE else "Retired"
            actions.append(m.Say("warn", slot.name.sandbox, f'{word} "{slot.text}"'))
            actions += self._begin_stop(slot, now)
        return actions

    # --- events and time ------------------------------------------------------------------------------------------

    def receive(self, event: m.Event, now: float) -> Actions:
        """What follows from one event; what follows from time comes with the next tick."""
        match event:
            case m.StopAll():
                return self._stop_all(now)
            case m.Hold():
                self._holding = True
                return []
            case m.Launched():
                return self._launched(self._slots[event.name], event.record, now)
            case m.NotLaunched():
                return self._not_launched(self._slots[event.name], event, now)
            case m.Ended():
                return self._ended(self._slots[event.name], event, now)
            case m.Cleaned():
                return self._cleaned(self._slots[event.name], now)
            case m.ProbeDone():
                return self._probe_done(event, now)
            case m.Notified():
                return self._notified(event, now)

    def tick(self, now: float) -> Actions:
        """Everything that is due."""
        self._ticked_at = now
        actions: Actions = []
        for slot in sorted(self._slots.values(), key=lambda slot: slot.name):
            actions += self._due(slot, now)
        actions += self._starts(now)
        return actions

    def next_tick_at(self) -> float | None:
        """After a tick: when time alone will next have something to do; None: only an event can.

        What was due by the last tick and is still there waits for an event, such as the readiness of another entry.
        """
        return min((moment for moment in self._moments() if moment > self._ticked_at), default=None)

    def _moments(self) -> Iterator[float]:
        for slot in self._slots.values():
            record = slot.record
            if slot.phase is Phase.WAITING and not self._stopping and not self._holding:
                yield slot.not_before
                if slot.instance and any(awaited not in self._members for awaited in slot.instance.after):
                    yield self._began_at + MISSING_AWAITED_S
            elif slot.phase is Phase.DRAINING and record is not None and record.term_at is not None:
                yield record.term_at
            elif slot.phase is Phase.STOPPING and record is not None and record.kill_at is not None:
                yield record.kill_at
            elif slot.stop_asked_at is not None:
                yield slot.stop_asked_at
            elif slot.active_probe is not None and record is not None:
                if slot.probe is None or not slot.probe.in_flight:
                    yield slot.probe.next_at if slot.probe else slot.since
                else:
                    yield slot.probe.next_at + slot.active_probe.probe.timeout + PROBE_GRACE_S
                if slot.phase is Phase.STARTING:
                    yield record.started_at + slot.active_probe.probe.deadline

    # --- starting -------------------------------------------------------------------------------------------------

    def _starts(self, now: float) -> Actions:
        if self._stopping or self._holding:
            return []
        launching = sum(slot.phase is Phase.LAUNCHING for slot in self._slots.values())
        actions: Actions = []
        for slot in sorted(self._slots.values(), key=lambda slot: slot.name):
            if launching >= self._starts_at_once:
                break
            if slot.phase is not Phase.WAITING or slot.instance is None or slot.not_before > now:
                continue
            waits_for, said = self._awaited(slot.instance, now)
            actions += said
            if waits_for:
                slot.error = slot.error or f"waits for {', '.join(waits_for)}"
                continue
            slot.step(Step.LAUNCH, now)
            slot.record = self._new_record(slot.instance, now)
            slot.not_before = slot.record.restart_min
            launching += 1
            actions.append(m.Launch(slot.instance, slot.record))
        return actions

    def _awaited(self, instance: Instance, now: float) -> tuple[list[str], Actions]:
        """The entries of `after` that are not ready yet, and a warning for each that does not exist."""
        waits_for: list[str] = []
        actions: Actions = []
        for awaited in instance.after:
            members = self._members.get(awaited)
            if members is None:
                if now < self._began_at + MISSING_AWAITED_S:
                    waits_for.append(awaited)
                elif (instance.name.entry, awaited) not in self._warned_missing:
                    self._warned_missing.add((instance.name.entry, awaited))
                    text = f'"{instance.name}" is to start after "{awaited}", which does not exist; it starts now'
                    actions.append(m.Say("warn", instance.name.sandbox, text))
            elif not all(member.ever_ready for member in members):
                waits_for.append(awaited)
        return waits_for, actions

    def _new_record(self, instance: Instance, now: float) -> Record:
        config = instance.container
        return Record(
            name=str(instance.name),
            owner="master",
            config=instance.config,
            id=instance.name.container_id,
            state="starting",
            boot_id=self._boot_id,
            started_at=now,
            restart_min=now + config.restart_timeout,
            kill_timeout=config.kill_timeout,
            pre_stop_delay=config.pre_stop_delay,
            stop_signal=config.stop_signal,
            normal_exit_codes=config.normal_exit_codes,
            image=str(instance.image),
            ports={str(port.address): port.fd for port in instance.ports if port.shared},
        )

    def _launched(self, slot: Slot, record: Record, now: float) -> Actions:
        slot.step(Step.LAUNCHED, now)
        slot.record = _changed(record, state="running")
        self._count_start(slot)
        actions: Actions = [
            m.Say("warn", slot.name.sandbox, f'Started "{slot.text}" (pid {record.main_pid or record.init_pid})'),
            m.Count(slot.name.entry, "started"),
        ]
        if slot.instance is not None and slot.instance.readiness is None:
            actions += self._became_ready(slot, now)
        else:
            actions.append(m.WriteRecord(slot.record))
        if self._stopping:
            actions += self._begin_stop(slot, now)
        return actions

    def _not_launched(self, slot: Slot, event: m.NotLaunched, now: float) -> Actions:
        slot.step(Step.NOT_LAUNCHED, now)
        slot.record, slot.error = None, event.reason
        actions: Actions = [m.Say("error", slot.name.sandbox, f'Cannot start "{slot.text}": {event.reason}')]
        if not event.refused:
            actions += [m.Count(slot.name.entry, "started"), m.Count(slot.name.entry, "deaths")]
            self._count_start(slot)
        slot.upgrading = False
        actions.append(m.Count(slot.name.entry, "failures"))
        if self._stopping:
            slot.step(Step.DISMISSED, now)
            self._forget_if_gone(slot)
        return actions

    def _count_start(self, slot: Slot) -> None:
        slot.restarts += slot.started_before and not slot.upgrading
        slot.started_before, slot.upgrading = True, False

    # --- readiness and health -------------------------------------------------------------------------------------

    def _became_ready(self, slot: Slot, now: float) -> Actions:
        assert slot.record is not None
        slot.step(Step.BECAME_READY, now)
        slot.ever_ready, slot.error = True, None
        slot.record = _changed(slot.record, ready_at=now)
        return [m.WriteRecord(slot.record)]

    def _due(self, slot: Slot, now: float) -> Actions:
        record = slot.record
        if slot.stop_asked_at is not None and slot.phase not in ON_ITS_WAY_OUT and slot.alive:
            if now >= slot.stop_asked_at or not self._running_dependents(slot):
                return self._begin_stop(slot, now)
            return []
        if record is None:
            return []
        if slot.phase is Phase.DRAINING and record.term_at is not None and now >= record.term_at:
            return self._send_stop_signal(slot, now)
        if slot.phase is Phase.STOPPING and record.kill_at is not None and now >= record.kill_at:
            return self._kill(slot, now)
        return self._probe_due(slot, now)

    def _probe_due(self, slot: Slot, now: float) -> Actions:
        settled, record = slot.active_probe, slot.record
        if settled is None or record is None:
            return []
        if slot.phase is Phase.STARTING and now >= record.started_at + settled.probe.deadline:
            last = slot.probe.last_failure if slot.probe and slot.probe.last_failure else settled.probe.describe()
            return self._stop_as_unwell(slot, f"not ready within {settled.probe.deadline:g} s: {last}", now)
        if slot.probe is None:
            # A health probe first waits its interval, a readiness probe asks at once.
            slot.probe = ProbeCourse(now if slot.phase is Phase.STARTING else now + settled.interval_s)
        if now < slot.probe.next_at:
            return []
        if settled.probe.notify is not None:
            if slot.phase is Phase.STARTING:
                slot.probe.next_at = record.started_at + settled.probe.deadline
                return []
            slot.probe.next_at = now + settled.interval_s
            return self._probe_failed(slot, f"no WATCHDOG=1 within {settled.interval_s:g} s", now)
        if slot.probe.in_flight:
            if now < slot.probe.next_at + settled.probe.timeout + PROBE_GRACE_S:
                return []
            slot.probe.in_flight = False
            return self._probe_failed(slot, f"{settled.probe.describe()}: no answer", now)
        slot.probe.in_flight = True
        slot.probe.next_at = now
        return [m.RunProbe(slot.text, record.started_at, settled)]

    def _probe_done(self, event: m.ProbeDone, now: float) -> Actions:
        slot = self._slots.get(event.name)
        if slot is None or slot.record is None or slot.record.started_at != event.started_at:
            return []  # the answer of a container that is gone
        settled = slot.active_probe
        if settled is None or slot.probe is None or not slot.probe.in_flight:
            return []
        slot.probe.in_flight = False
        slot.probe.next_at = max(now, slot.probe.next_at + settled.interval_s)
        if event.failure is not None:
            return self._probe_failed(slot, event.failure, now)
        slot.probe.failures = 0
        return self._became_ready(slot, now) if slot.phase is Phase.STARTING else []

    def _probe_failed(self, slot: Slot, failure: str, now: float) -> Actions:
        settled = slot.active_probe
        assert settled is not None and slot.probe is not None
        slot.probe.failures += 1
        slot.probe.last_failure = failure
        if slot.phase is Phase.STARTING:
            slot.error = failure  # shown while it lasts; only the deadline ends it
            return []
        if slot.probe.failures < settled.probe.failures:
            return []
        return [m.Count(slot.name.entry, "unhealthy"), *self._stop_as_unwell(slot, f"unhealthy: {failure}", now)]

    def _notified(self, event: m.Notified, now: float) -> Actions:
        slot = self._slots.get(event.name)
        settled = slot.active_probe if slot is not None else None
        if slot is None or settled is None or settled.probe.notify is None:
            return []
        if slot.phase is Phase.STARTING:
            return self._became_ready(slot, now) if event.notice is m.Notice.READY else []
        if event.notice is m.Notice.WATCHDOG:
            slot.probe = ProbeCourse(now + settled.interval_s)
        return []

    def _stop_as_unwell(self, slot: Slot, reason: str, now: float) -> Actions:
        assert slot.record is not None
        slot.error = reason
        slot.record = _changed(slot.record, stop_reason=UNWELL)
        return [m.Say("error", slot.name.sandbox, f'Stopping "{slot.text}": {reason}'), *self._begin_stop(slot, now)]

    # --- stopping -------------------------------------------------------------------------------------------------

    def _stop_all(self, now: float) -> Actions:
        if self._stopping:
            return []
        self._stopping = True
        longest_s = max((s.record.kill_timeout + s.record.pre_stop_delay for s in self._alive() if s.record), default=0)
        actions: Actions = []
        for slot in sorted(self._slots.values(), key=lambda slot: slot.name):
            if slot.phase in (Phase.WAITING, Phase.BROKEN):
                slot.step(Step.DISMISSED, now)
            elif slot.alive and slot.phase not in ON_ITS_WAY_OUT:
                # Dependents first; when they take too long, all the rest at once: twice the longest time in all.
                slot.stop_asked_at = now + longest_s
        for slot in list(self._slots.values()):
            self._forget_if_gone(slot)
        return [*actions, *self.tick(now)]

    def _alive(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.alive]

    def _running_dependents(self, slot: Slot) -> bool:
        return any(
            other.instance is not None and slot.name.entry in other.instance.after
            for other in self._slots.values()
            if other.alive or other.phase in (Phase.LAUNCHING, Phase.CLEANING)
        )

    def _begin_stop(self, slot: Slot, now: float) -> Actions:
        assert slot.record is not None
        slot.step(Step.DRAIN, now)
        slot.stop_asked_at = None
        slot.record = _changed(slot.record, state="stopping", term_at=now + slot.record.pre_stop_delay)
        if slot.record.pre_stop_delay <= 0:
            return self._send_stop_signal(slot, now)
        return [m.WriteRecord(slot.record)]

    def _send_stop_signal(self, slot: Slot, now: float) -> Actions:
        record = slot.record
        assert record is not None
        began = slot.since
        slot.step(Step.TERM, now)
        slot.since = began  # it has been `stopping` since the delay began
        slot.record = _changed(record, term_sent_at=now, kill_at=now + record.kill_timeout)
        number = signal.Signals[f"SIG{record.stop_signal.removeprefix('SIG')}"]
        # The record first: a master that dies in between must not send the signal twice.
        return [m.WriteRecord(slot.record), m.SendSignal(slot.text, number)]

    def _kill(self, slot: Slot, now: float) -> Actions:
        record = slot.record
        assert record is not None
        began = slot.since
        slot.step(Step.KILL, now)
        slot.since = began
        slot.error = f"did not stop in {record.kill_timeout:g} s"
        uptime_s = int(now - record.started_at)
        still = (
            f'----- Process "{slot.text}" still alive {record.kill_timeout:g}s after SIG'
            f"{record.stop_signal.removeprefix('SIG')}, killing it, uptime {uptime_s}s -----"
        )
        return [
            m.Say("error", slot.name.sandbox, f'Container "{slot.text}" did not stop in {record.kill_timeout:g} s'),
            m.WriteOutput(record, still),
            m.SendSignal(slot.text, signal.SIGKILL),
        ]

    def _ended(self, slot: Slot, event: m.Ended, now: float) -> Actions:
        record = slot.record
        assert record is not None
        killed = slot.phase is Phase.KILLED
        slot.step(Step.ENDED, now)
        failure = counts_as_failure(
            event.ending,
            normal_exit_codes=record.normal_exit_codes,
            stop_sent=record.term_sent_at is not None,
            had_to_be_killed=killed,
            stopped_as_unwell=record.stop_reason == UNWELL,
        )
        if record.term_sent_at is None:
            slot.error = str(event.ending)
        pid = record.main_pid or record.init_pid
        uptime_s = int(now - record.started_at)
        actions: Actions = [
            m.Say("error", slot.name.sandbox, f'Container "{slot.text}" (pid: {pid}) {event.ending}'),
            m.WriteOutput(record, f'----- Process "{slot.text}" {event.ending}, uptime {uptime_s}s -----'),
            m.Count(slot.name.entry, "deaths"),
        ]
        if failure:
            actions.append(m.Count(slot.name.entry, "failures"))
        return [*actions, m.Clean(record)]

    def _cleaned(self, slot: Slot, now: float) -> Actions:
        slot.record, slot.stop_asked_at = None, None
        if self._stopping or (slot.instance is None and slot.broken is None):
            slot.step(Step.DISMISSED, now)
        else:
            slot.step(Step.AGAIN if slot.instance is not None else Step.FORBIDDEN, now)
            if slot.broken is not None:
                slot.error = slot.broken.reason
        self._forget_if_gone(slot)
        return []

    def _forget_if_gone(self, slot: Slot) -> None:
        if slot.phase is Phase.GONE:
            self._slots.pop(slot.text, None)

    # --- what others want to know ---------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Asked to end, and nothing is left."""
        return self._stopping and not self._slots

    @property
    def stopping(self) -> bool:
        return self._stopping

    def record_of(self, name: str) -> Record | None:
        slot = self._slots.get(name)
        return None if slot is None else slot.record

    def phase_of(self, name: str) -> Phase | None:
        slot = self._slots.get(name)
        return None if slot is None else slot.phase

    @property
    def busy(self) -> bool:
        """Starts or removals are under way."""
        return any(slot.phase in (Phase.LAUNCHING, Phase.CLEANING) for slot in self._slots.values())

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(slot.record for slot in self._slots.values() if slot.record is not None)

    def addresses_in_use(self, now: float) -> frozenset[Address]:
        return published.addresses_in_use(self._slots.values(), now, stopping=self._stopping)

    def statuses(self, to_epoch_s: float) -> tuple[InstanceStatus, ...]:
        return published.statuses(self._slots.values(), to_epoch_s)

    def levels(self) -> Mapping[str, int]:
        return published.levels(self._slots.values(), self._desired.sandboxes)


def _changed(record: Record, **fields: object) -> Record:
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    return Record(**{**values, **fields})
