"""The core of supervision: stories of one instance and of several, without a process in sight."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lithos_wanted import desired, entry, instance

from manor.lithos.files.probes import HttpProbe, Probe
from manor.lithos.files.record import Record
from manor.lithos.rules.ports import Address
from manor.lithos.rules.settle import Instance
from manor.lithos.supervision import messages as m
from manor.lithos.supervision.adoption import Fate, fate
from manor.lithos.supervision.core import MISSING_AWAITED_S, Supervisor
from manor.lithos.supervision.desired import Broken, Desired
from manor.lithos.supervision.endings import Ending, counts_as_failure
from manor.lithos.supervision.phases import TRANSITIONS, Phase, Step

KILLED = Ending(signal=signal.SIGKILL)
TERMED = Ending(signal=signal.SIGTERM)
NOTIFY = Probe(notify="systemd", deadline=10.0)


class World:
    """A core, its clock, and what it asked for: the runtime here always works, unless a test says otherwise."""

    def __init__(self, wanted: Desired, *, starts_at_once: int = 8, now: float = 100.0) -> None:
        self.now = now
        self.core = Supervisor(wanted, now=now, boot_id="boot", starts_at_once=starts_at_once)
        self.actions: list[m.Action] = []
        self._pids = 1000

    def tick(self, seconds: float = 0.0) -> list[m.Action]:
        """Let time pass, doing what the core asks for when it asks for it; all actions of that time."""
        until, seen = self.now + seconds, len(self.actions)
        self._take(self.core.tick(self.now))
        while (moment := self.core.next_tick_at()) is not None and moment <= until:
            self.now = max(self.now + 0.001, moment)
            self._take(self.core.tick(self.now))
        self.now = max(self.now, until)
        self._take(self.core.tick(self.now))
        return self.actions[seen:]

    def tell(self, event: m.Event) -> list[m.Action]:
        actions = self.core.receive(event, self.now)
        self._take(actions)
        return actions

    def launch(self, *names: str) -> None:
        """The runtime has started these, of those that were asked for."""
        asked = {str(one.instance.name): one for one in self.actions if isinstance(one, m.Launch)}
        for name in names or asked:
            self._pids += 10
            record = msgspec.structs.replace(asked[name].record, init_pid=self._pids, main_pid=self._pids + 1)
            self.tell(m.Launched(name, record))
        self.actions = [one for one in self.actions if not isinstance(one, m.Launch)]

    def end(self, name: str, ending: Ending) -> list[m.Action]:
        actions = self.tell(m.Ended(name, ending))
        self.tell(m.Cleaned(name))
        return actions

    def states(self) -> dict[str, str]:
        return {one.name: one.state for one in self.core.statuses(0.0)}

    def record(self, name: str = "shop/web.0") -> Record:
        record = self.core.record_of(name)
        assert record is not None
        return record

    def _take(self, actions: Iterable[m.Action]) -> None:
        self.actions += actions


def running(*instances: Instance, **options: Any) -> World:
    world = World(desired(*instances), **options)
    world.tick()
    world.launch()
    world.actions.clear()
    return world


def launches(actions: Iterable[m.Action]) -> list[str]:
    return [str(one.instance.name) for one in actions if isinstance(one, m.Launch)]


def signals(actions: Iterable[m.Action]) -> list[int]:
    return [one.number for one in actions if isinstance(one, m.SendSignal)]


def counts(actions: Iterable[m.Action]) -> list[str]:
    return [one.counter for one in actions if isinstance(one, m.Count)]


def test_what_is_wanted_is_started_in_order_of_names_and_some_at_once() -> None:
    names = [f"shop/web.{index}" for index in (10, 2, 1, 0)]
    world = World(desired(*map(instance, names)), starts_at_once=2)
    assert launches(world.tick()) == ["shop/web.0", "shop/web.1"]
    assert launches(world.tick()) == []
    world.launch("shop/web.0")
    assert launches(world.tick()) == ["shop/web.2"]
    assert world.states()["shop/web.0"] == "ready"
    assert world.states()["shop/web.10"] == "waiting"


def test_what_dies_is_started_again_not_before_its_restart_timeout() -> None:
    world = running(instance(restart_timeout=3.0))
    world.tick(1.0)
    assert counts(world.end("shop/web.0", KILLED)) == ["deaths", "failures"]
    assert world.states() == {"shop/web.0": "waiting"}
    assert launches(world.tick(1.9)) == []
    assert launches(world.tick(0.2)) == ["shop/web.0"]
    world.launch()
    (status,) = world.core.statuses(0.0)
    assert status.restarts == 1


def test_what_ran_long_enough_is_started_again_at_once() -> None:
    world = running(instance(restart_timeout=3.0))
    world.tick(60.0)
    world.end("shop/web.0", Ending(code=0))
    assert launches(world.tick()) == ["shop/web.0"]


def test_a_refused_start_is_tried_again_and_counts_as_a_failure_only() -> None:
    world = World(desired(instance(restart_timeout=2.0)))
    world.tick()
    actions = world.tell(m.NotLaunched("shop/web.0", "no such volume", refused=True))
    assert counts(actions) == ["failures"]
    (status,) = world.core.statuses(0.0)
    assert (status.state, status.error) == ("waiting", "no such volume")
    world.actions.clear()
    assert launches(world.tick(1.9)) == []
    assert launches(world.tick(0.2)) == ["shop/web.0"]
    assert counts(world.tell(m.NotLaunched("shop/web.0", "runc failed", refused=False))) == [
        "started",
        "deaths",
        "failures",
    ]


def test_a_stop_is_one_term_then_a_kill() -> None:
    world = running(instance(kill_timeout=5.0))
    actions = world.tell(m.StopAll())
    assert signals(actions) == [signal.SIGTERM]
    written = [one.record for one in actions if isinstance(one, m.WriteRecord)]
    assert written[-1].term_sent_at == world.now and written[-1].kill_at == world.now + 5.0
    world.tell(m.StopAll())
    assert signals(world.tick(4.9)) == []
    assert signals(world.tick(0.2)) == [signal.SIGKILL]
    assert counts(world.end("shop/web.0", KILLED)) == ["deaths", "failures"]
    assert world.core.finished


def test_a_stop_waits_for_a_start_under_way() -> None:
    world = World(desired(instance()))
    world.tick()
    world.tell(m.StopAll())
    assert not world.core.finished
    world.launch()
    assert world.states() == {"shop/web.0": "stopping"}
    world.end("shop/web.0", TERMED)
    assert world.core.finished


def test_nothing_is_started_while_the_master_is_about_to_execute_itself() -> None:
    world = running(instance(restart_timeout=0.0))
    world.tell(m.Hold())
    world.end("shop/web.0", KILLED)
    assert launches(world.tick(10.0)) == []
    assert not world.core.busy


def test_a_delay_before_the_stop_is_seen_at_once() -> None:
    world = running(instance(pre_stop_delay=2.0))
    assert signals(world.tell(m.StopAll())) == []
    assert world.states() == {"shop/web.0": "stopping"}
    assert signals(world.tick(1.9)) == []
    assert signals(world.tick(0.2)) == [signal.SIGTERM]


# --- adoption -------------------------------------------------------------------------------------------------------


def living(of: Instance, **fields: Any) -> Record:
    record = Record(
        name=str(of.name),
        owner="master",
        config=of.config,
        id=of.name.container_id,
        state="running",
        boot_id="boot",
        init_pid=7,
        started_at=50.0,
        ready_at=51.0,
        restart_min=53.0,
    )
    return msgspec.structs.replace(record, **fields)


def adopted(wanted: Desired, record: Record) -> tuple[World, list[m.Action]]:
    world = World(wanted)
    actions = world.core.adopt(record, world.now)
    return world, actions


def test_a_container_with_the_wanted_config_is_kept_as_it_is() -> None:
    web = instance()
    world, actions = adopted(desired(web), living(web))
    assert signals(actions) == [] and launches(world.tick()) == []
    (status,) = world.core.statuses(0.0)
    assert (status.state, status.since) == ("ready", 51_000)


def test_a_container_with_another_config_is_replaced_without_a_pause() -> None:
    old, new = instance(of=entry(image="old")), instance(of=entry(image="new"), restart_timeout=30.0)
    world, actions = adopted(desired(new), living(old, restart_min=90.0))
    assert signals(actions) == [signal.SIGTERM]
    assert [one.text for one in actions if isinstance(one, m.Say)] == ['Upgrading "shop/web.0"']
    assert counts(world.end("shop/web.0", TERMED)) == ["deaths"]
    assert launches(world.tick()) == ["shop/web.0"]
    world.launch()
    (status,) = world.core.statuses(0.0)
    assert (status.image, status.restarts) == ("new", 0)


def test_a_container_nobody_wants_is_retired() -> None:
    web = instance()
    world, actions = adopted(desired(), living(web))
    assert signals(actions) == [signal.SIGTERM]
    assert world.core.levels()["unknown"] == 1
    world.end("shop/web.0", TERMED)
    assert world.states() == {}


def test_a_term_that_was_sent_is_not_sent_again_and_its_deadline_holds() -> None:
    web = instance()
    record = living(web, state="stopping", term_at=95.0, term_sent_at=95.0, kill_at=105.0)
    world, actions = adopted(desired(), record)
    assert signals([*actions, *world.tick(4.9)]) == []
    assert signals(world.tick(0.2)) == [signal.SIGKILL]


def test_a_delay_that_began_before_goes_on() -> None:
    world, actions = adopted(desired(), living(instance(), state="stopping", term_at=102.0, pre_stop_delay=10.0))
    assert signals(actions) == []
    assert signals(world.tick(2.1)) == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (desired(instance()), Fate.KEEP),
        (desired(instance(of=entry(image="other"))), Fate.UPGRADE),
        (desired(), Fate.RETIRE),
        (desired(broken={"shop/web.0": Broken("first", "/c", "why")}), Fate.KEEP),
        (desired(frozen={"shop": "no sandbox file"}), Fate.KEEP),
        (desired(frozen={"other": "no sandbox file"}), Fate.RETIRE),
        (Desired(all_frozen="no directory"), Fate.KEEP),
    ],
)
def test_what_becomes_of_a_running_container(wanted: Desired, expected: Fate) -> None:
    assert fate("shop/web.0", instance().config, wanted) is expected


def test_what_is_broken_keeps_running_and_is_not_started_again() -> None:
    world, actions = adopted(
        desired(broken={"shop/web.0": Broken("first", "/c", "web.yaml:1:1: bad")}), living(instance())
    )
    assert signals(actions) == []
    assert world.states() == {"shop/web.0": "ready"}
    world.end("shop/web.0", KILLED)
    assert launches(world.tick(100.0)) == []
    (status,) = world.core.statuses(0.0)
    assert (status.state, status.error) == ("broken", "web.yaml:1:1: bad")


# --- readiness, health, order ---------------------------------------------------------------------------------------


def test_a_notification_makes_ready() -> None:
    world = running(instance(readiness=NOTIFY))
    assert world.states() == {"shop/web.0": "starting"}
    world.tell(m.Notified("shop/web.0", m.Notice.READY))
    assert world.states() == {"shop/web.0": "ready"}
    assert world.record().ready_at == world.now
    assert signals(world.tick(3600.0)) == []


def test_a_deadline_without_readiness_is_a_failure() -> None:
    world = running(instance(readiness=NOTIFY))
    assert signals(world.tick(9.9)) == []
    assert signals(world.tick(0.2)) == [signal.SIGTERM]
    assert "failures" in counts(world.end("shop/web.0", TERMED))
    (status,) = world.core.statuses(0.0)
    assert status.error is not None and status.error.startswith("not ready within 10 s")


def test_a_readiness_probe_is_repeated_until_it_succeeds() -> None:
    probe = Probe(http=HttpProbe(port="8000", path="/"), interval=2.0)
    world = running(instance(readiness=probe))
    (asked,) = [one for one in world.tick() if isinstance(one, m.RunProbe)]
    assert asked.probe.port == 8000
    world.tell(m.ProbeDone("shop/web.0", asked.started_at, "answered 503"))
    assert [one for one in world.tick(1.9) if isinstance(one, m.RunProbe)] == []
    (asked,) = [one for one in world.tick(0.2) if isinstance(one, m.RunProbe)]
    world.tell(m.ProbeDone("shop/web.0", asked.started_at, None))
    assert world.states() == {"shop/web.0": "ready"}


def test_failing_health_stops_and_starts_again() -> None:
    probe = Probe(tcp="8000", interval=1.0, failures=2)
    world = running(instance(health=probe))
    for expected in ("ready", "unhealthy"):
        (asked,) = [one for one in world.tick(1.0) if isinstance(one, m.RunProbe)]
        world.tell(m.ProbeDone("shop/web.0", asked.started_at, "connection refused"))
        assert world.states() == {"shop/web.0": expected}
    assert "unhealthy" in counts(world.actions)
    assert counts(world.end("shop/web.0", Ending(code=0))) == ["deaths", "failures"]


def test_one_good_answer_forgives_earlier_bad_ones() -> None:
    world = running(instance(health=Probe(tcp="8000", interval=1.0, failures=2)))
    for failure in ("refused", None, "refused", None, "refused"):
        (asked,) = [one for one in world.tick(1.0) if isinstance(one, m.RunProbe)]
        world.tell(m.ProbeDone("shop/web.0", asked.started_at, failure))
    assert world.states() == {"shop/web.0": "ready"}


def test_the_answer_for_a_container_that_is_gone_is_no_answer() -> None:
    world = running(instance(readiness=Probe(tcp="8000"), restart_timeout=0.0))
    (asked,) = [one for one in world.tick() if isinstance(one, m.RunProbe)]
    world.end("shop/web.0", KILLED)
    world.tick(1.0)
    world.launch()
    world.tell(m.ProbeDone("shop/web.0", asked.started_at, None))
    assert world.states() == {"shop/web.0": "starting"}


def test_a_watchdog_that_stays_silent_is_unhealthy() -> None:
    health = Probe(notify="systemd", interval=5.0, failures=1)
    world = running(instance(readiness=NOTIFY, health=health))
    world.tell(m.Notified("shop/web.0", m.Notice.READY))
    world.tick()
    for _ in range(3):
        world.tick(4.0)
        world.tell(m.Notified("shop/web.0", m.Notice.WATCHDOG))
    assert world.states() == {"shop/web.0": "ready"}
    world.tick(5.1)
    assert world.states() == {"shop/web.0": "unhealthy"}


def test_an_entry_waits_until_all_of_another_were_ready_once() -> None:
    apis = [instance(f"shop/api.{i}", readiness=NOTIFY, of=entry(instances=2)) for i in (0, 1)]
    web = instance("shop/web.0", of=entry(after=("api",)))
    world = World(desired(*apis, web))
    assert launches(world.tick()) == ["shop/api.0", "shop/api.1"]
    world.launch()
    world.tell(m.Notified("shop/api.0", m.Notice.READY))
    assert launches(world.tick(1.0)) == []
    assert world.core.statuses(0.0)[-1].error == "waits for shop/api"
    world.tell(m.Notified("shop/api.1", m.Notice.READY))
    assert launches(world.tick()) == ["shop/web.0"]
    world.launch()
    world.end("shop/api.0", KILLED)
    world.end("shop/web.0", KILLED)
    assert "shop/web.0" in launches(world.tick(5.0)), "order is about the first start"


def test_an_awaited_entry_that_does_not_exist_is_waited_for_a_minute() -> None:
    world = World(desired(instance(of=entry(after=("nowhere/else",)))))
    assert launches(world.tick(MISSING_AWAITED_S - 1)) == []
    actions = world.tick(1.5)
    assert launches(actions) == ["shop/web.0"]
    assert ["which does not exist" in one.text for one in actions if isinstance(one, m.Say)] == [True]


def test_dependents_are_stopped_first() -> None:
    api, web = instance("shop/api.0"), instance("shop/web.0", of=entry(after=("api",)), kill_timeout=5.0)
    world = running(api)
    world = World(desired(api, web))
    for _ in range(2):
        world.tick()
        world.launch()
    actions = world.tell(m.StopAll())
    assert [one.name for one in actions if isinstance(one, m.SendSignal)] == ["shop/web.0"]
    world.end("shop/web.0", TERMED)
    assert [one.name for one in world.tick() if isinstance(one, m.SendSignal)] == ["shop/api.0"]


def test_a_dependent_that_will_not_end_holds_the_others_up_for_a_bounded_time() -> None:
    api, web = instance("shop/api.0"), instance("shop/web.0", of=entry(after=("api",)), kill_timeout=5.0)
    world = World(desired(api, web))
    for _ in range(2):
        world.tick()
        world.launch()
    world.tell(m.StopAll())
    assert ("shop/api.0", signal.SIGTERM) in [
        (one.name, one.number) for one in world.tick(5.1) if isinstance(one, m.SendSignal)
    ]


# --- sockets --------------------------------------------------------------------------------------------------------


def test_a_socket_is_in_use_while_somebody_runs_or_is_replaced_and_not_while_all_wait() -> None:
    from manor.lithos.files.container import TcpPort

    ports = {"8000": TcpPort(fd=3)}
    address = Address("0.0.0.0", 8000)
    world = running(instance(tcp_ports=ports, restart_timeout=3.0))
    assert world.core.addresses_in_use(world.now) == {address}
    world.end("shop/web.0", KILLED)
    assert world.core.addresses_in_use(world.now) == frozenset()
    old, new = instance(of=entry(image="old"), tcp_ports=ports), instance(of=entry(image="new"), tcp_ports=ports)
    world, _ = adopted(desired(new), living(old, ports={str(address): 3}, restart_min=1000.0))
    world.end("shop/web.0", TERMED)
    assert world.core.addresses_in_use(world.now) == {address}, "an upgrade is under way"


# --- endings --------------------------------------------------------------------------------------------------------


def test_endings_in_words() -> None:
    assert str(Ending.of_init(7 << 8)) == "exited with code 7"
    assert str(Ending.of_init((128 + 15) << 8)) == "killed by signal SIGTERM[15]"
    assert str(Ending.of_init(9)) == "killed by signal SIGKILL[9]"
    assert str(Ending.of_init(signal.SIGSEGV | 0x80)) == "killed by signal SIGSEGV[11] (core dumped)"
    assert str(Ending.of_init(None)) == "ended with unknown status"
    assert os.waitstatus_to_exitcode(7 << 8) == 7


@pytest.mark.parametrize(
    ("ending", "fields", "expected"),
    [
        (Ending(code=42), {"normal_exit_codes": (42,)}, False),
        (Ending(code=0), {}, True),
        (TERMED, {}, False),
        (KILLED, {}, True),
        (KILLED, {"stop_sent": True}, False),
        (KILLED, {"stop_sent": True, "had_to_be_killed": True}, True),
        (Ending(code=42), {"normal_exit_codes": (42,), "stopped_as_unwell": True}, True),
        (Ending(), {}, True),
        (Ending(), {"stop_sent": True}, False),
        (Ending(code=137, signal=9), {"normal_exit_codes": (137,)}, False),
    ],
)
def test_which_endings_are_failures(ending: Ending, fields: dict[str, Any], expected: bool) -> None:
    defaults = {"normal_exit_codes": (), "stop_sent": False, "had_to_be_killed": False, "stopped_as_unwell": False}
    assert counts_as_failure(ending, **{**defaults, **fields}) is expected


# --- whatever happens -----------------------------------------------------------------------------------------------


def test_every_phase_can_be_left_but_the_last() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert [phase for phase, steps in TRANSITIONS.items() if not steps] == [Phase.GONE]
    assert {step for steps in TRANSITIONS.values() for step in steps} == set(Step)


@given(
    st.lists(
        st.tuples(st.sampled_from(["tick", "launch", "refuse", "end", "ready", "probe", "clean"]), st.integers(0, 2)),
        max_size=60,
    )
)
def test_one_container_per_name_and_no_early_start_whatever_happens(story: list[tuple[str, int]]) -> None:
    """Launch is asked for only when nothing of that name is left, never before `restart-timeout`, and all can stop."""
    kinds: list[dict[str, Any]] = [
        {},
        {"readiness": NOTIFY, "restart_timeout": 2.0},
        {"health": Probe(tcp="8000", failures=1)},
    ]
    names = [f"shop/p{index}.0" for index in range(3)]
    world = World(desired(*(instance(name, **kind) for name, kind in zip(names, kinds, strict=True))))
    alive: set[str] = set()
    launching: dict[str, m.Launch] = {}
    unclean: set[str] = set()
    last_start: dict[str, float] = {}

    def take(actions: Iterable[m.Action]) -> None:
        for one in actions:
            if isinstance(one, m.Launch):
                name = str(one.instance.name)
                assert name not in alive | launching.keys() | unclean
                assert world.now >= last_start.get(name, -1e9) + one.instance.container.restart_timeout
                launching[name], last_start[name] = one, world.now

    def ended(name: str) -> None:
        alive.discard(name)
        unclean.add(name)
        take(world.tell(m.Ended(name, KILLED)))

    def launched(name: str) -> None:
        record = msgspec.structs.replace(launching.pop(name).record, init_pid=5)
        alive.add(name)
        take(world.tell(m.Launched(name, record)))

    for what, index in story:
        name = names[index]
        if what == "tick":
            world.now += 0.7
            take(world.core.tick(world.now))
        elif what == "launch" and name in launching:
            launched(name)
        elif what == "refuse" and name in launching:
            launching.pop(name)
            take(world.tell(m.NotLaunched(name, "no", refused=True)))
        elif what == "end" and name in alive:
            ended(name)
        elif what == "clean" and name in unclean:
            unclean.discard(name)
            take(world.tell(m.Cleaned(name)))
        elif what == "ready":
            take(world.tell(m.Notified(name, m.Notice.READY)))
        elif what == "probe":
            started = world.core.record_of(name)
            take(world.tell(m.ProbeDone(name, started.started_at if started else 0.0, "refused")))
    take(world.tell(m.StopAll()))
    for name in sorted(launching):
        launched(name)
    for _ in range(40):
        world.now += 1.0
        take(world.core.tick(world.now))
    for name in sorted(alive):
        ended(name)
    for name in sorted(unclean):
        take(world.tell(m.Cleaned(name)))
    assert world.core.finished
