"""`manor demo --check`: use the cluster, change it, break things around it, and measure what its users would notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from manor.cluster import provision, site
from manor.cluster.agents import AgentFailed
from manor.cluster.tutorial import DATABASE_NODE, Tutorial
from manor.cluster.wait import wait_until
from manor.config.errors import ManorError

LOAD_RATE = 20.0  # requests a second, all balancers together
LOAD_SECONDS_MAX = 600.0
WORKERS_SCALED = 6
SERVED_WITHIN_S = 60.0
ROLLED_OUT_WITHIN_S = 300.0
ELECTED_WITHIN_S = 60.0
SURVIVED_WITHIN_S = 120.0
BACK_WITHIN_S = 120.0


class CheckFailed(ManorError):
    """rolling update: 3 of 512 requests failed; the first: ..."""


@dataclass(slots=True)
class Figures:
    """What was measured, in the order of measuring; the table at the end."""

    report: Callable[[str], None]  # told of each as it comes
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        self.rows.append((what, value))
        self.report(f"{what}: {value}")

    def seconds(self, what: str, value: float) -> None:
        self.add(what, f"{value:.1f} s")


class Check:
    """The steps in their order. Each leaves the cluster whole for the next."""

    def __init__(self, tutorial: Tutorial, figures: Figures, report: Callable[[str], None]) -> None:
        self.tutorial = tutorial
        self.cluster = tutorial.cluster
        self.report = report
        self.figures = figures

    def run(self) -> None:
        self.sign_on_one_node_and_read_on_another()
        self.scale_up()
        self.roll_out()
        self.kill_the_leaders_verwalter()
        if len(self.cluster.names) >= 3:  # a survivor must still have a majority
            victim = next(name for name in reversed(self.cluster.names) if name != DATABASE_NODE)
            self.kill_a_node(victim)
            self.bring_it_back(victim)
            self.cut_the_network(victim)

    def sign_on_one_node_and_read_on_another(self) -> None:
        first, last = self.cluster.names[0], self.cluster.names[-1]
        text = f"Signed at {time.time():.3f}"
        site.sign_book(self.tutorial.address(first), "Ann", text)
        if text not in site.read_book(self.tutorial.address(last)):
            raise CheckFailed(f"an entry signed on {first} is not in the book read on {last}")
        self.report(f"an entry signed through {first} is read through {last}")

    def scale_up(self) -> None:
        began = time.monotonic()
        self.tutorial.act(role="site", action="scale", daemon="web", count=WORKERS_SCALED)
        wait_until(
            f"{WORKERS_SCALED} ready workers",
            lambda: len(self.tutorial.ready("site")) == WORKERS_SCALED,
            within_s=SERVED_WITHIN_S,
        )
        with self.load() as load:
            wait_until(
                f"all {WORKERS_SCALED} workers serve",
                lambda: len(load.tally.instances) >= WORKERS_SCALED,
                within_s=SERVED_WITHIN_S,
            )
        self.figures.seconds(f"workers scaled to {WORKERS_SCALED}, all seen serving", time.monotonic() - began)

    def roll_out(self) -> None:
        self.tutorial.copy_project("2")
        began = time.monotonic()
        image = self.tutorial.build(["site"])["site"]
        self.figures.seconds("second image built, only the changed layers", time.monotonic() - began)
        began = time.monotonic()
        self.tutorial.push("site", "v2")
        self.figures.seconds("second image delivered", time.monotonic() - began)
        began = time.monotonic()
        with self.load() as load:
            wait_until("version v2 is known", self.knows_version_two, within_s=SERVED_WITHIN_S)
            self.tutorial.act(role="site", action="start_update", to_version="v2")
            wait_until("the update is done", self.update_is_done, within_s=ROLLED_OUT_WITHIN_S)
            wait_until(
                f"{WORKERS_SCALED} ready workers of {image}",
                lambda: len(self.tutorial.ready("site")) == WORKERS_SCALED,
                within_s=SERVED_WITHIN_S,
            )
        took_s = time.monotonic() - began
        tally = load.stop()
        self.figures.seconds("rolling update of all workers", took_s)
        self.figures.add("requests during the update, failed", f"{tally.requests}, {tally.failed}")
        self.figures.seconds("slowest request during the update", tally.slowest_s)
        if tally.failed:
            raise CheckFailed(
                f"rolling update: {tally.failed} of {tally.requests} requests failed; the first: {tally.failures[0]}"
            )
        if tally.versions != {"1", "2"}:
            raise CheckFailed(f"rolling update: requests saw releases {sorted(tally.versions)}, `1` and `2` expected")
        versions = {str(site.who_answers(self.tutorial.address(name))["version"]) for name in self.cluster.names}
        if versions != {"2"}:
            raise CheckFailed(f"rolling update: after it releases {sorted(versions)} answer, only `2` expected")

    def knows_version_two(self) -> bool:
        leader = self.tutorial.address(self.tutorial.leader())
        schedule = self.tutorial.agents.verwalter(leader, "schedule")
        return "v2" in schedule["data"]["roles"]["site"]["versions"]

    def update_is_done(self) -> bool:
        leader = self.tutorial.address(self.tutorial.leader())
        state = self.tutorial.agents.verwalter(leader, "schedule")["data"]["state"]["site"]
        if state["version"] != "v2" and not state.get("update"):
            raise CheckFailed("rolling update: it was rolled back; see the scheduler's change log")
        return state["version"] == "v2" and not state.get("update")

    def kill_the_leaders_verwalter(self) -> None:
        old, _ = wait_until("a leader", self.tutorial.leader, within_s=ELECTED_WITHIN_S)
        others = [name for name in self.cluster.names if name != old]
        self.cluster.run(old, "pkill", "-KILL", "-f", "bin/verwalter ")
        if others:
            new, took_s = wait_until(
                "a new leader", lambda: self.leader_other_than(old, others), within_s=ELECTED_WITHIN_S
            )
            self.figures.seconds(f"leader's verwalter killed on {old}: {new} leads", took_s)
        provision.start_verwalter(self.cluster, old)
        wait_until("one leader again", self.tutorial.leader, within_s=ELECTED_WITHIN_S)

    def leader_other_than(self, old: str, asked: list[str]) -> str:
        leader = self.tutorial.leader(asked)
        if leader == old:
            raise AgentFailed(f"{old} is still taken for the leader")
        return leader

    def kill_a_node(self, victim: str) -> None:
        survivors = [name for name in self.cluster.names if name != victim]
        began = time.monotonic()
        self.cluster.kill_node(victim)
        for what, condition in {
            "cantal says so": lambda: not any(self.is_available(victim, on=name) for name in survivors),
            "a survivor leads": lambda: self.leader_other_than(victim, survivors),
            "its workers run elsewhere": lambda: len(self.tutorial.ready("site", survivors)) == WORKERS_SCALED,
            "nginx asks it no more": lambda: not any(self.balances(victim, on=name) for name in survivors),
            "the site answers on all survivors": lambda: self.tutorial.site_answers(survivors),
        }.items():
            wait_until(f"after the death of {victim}: {what}", condition, within_s=SURVIVED_WITHIN_S)
            self.figures.seconds(f"{victim} killed: {what}", time.monotonic() - began)

    def is_available(self, victim: str, *, on: str) -> bool:
        peers = self.tutorial.agents.cantal(self.tutorial.address(on), "/all_peers.json")["peers"]
        return any(peer["available"] for peer in peers if peer["hostname"] == victim)

    def balances(self, victim: str, *, on: str) -> bool:
        return f"server {victim}:" in self.cluster.file(on, "/etc/guestbook/balancer/nginx.conf").read_text()

    def bring_it_back(self, victim: str) -> None:
        began = time.monotonic()
        self.tutorial.start_node(victim)
        self.wait_until_whole()
        self.figures.seconds(f"{victim} started again: one leader, site answers there", time.monotonic() - began)

    def cut_the_network(self, victim: str) -> None:
        others = [name for name in self.cluster.names if name != victim]
        began = time.monotonic()
        self.cluster.cut(victim)
        try:
            wait_until(
                f"the others see {victim} cut off",
                lambda: not any(self.is_available(victim, on=name) for name in others),
                within_s=SURVIVED_WITHIN_S,
            )
            wait_until(
                "a leader among the others", lambda: self.leader_other_than(victim, others), within_s=SURVIVED_WITHIN_S
            )
            wait_until("the site answers there", lambda: self.tutorial.site_answers(others), within_s=SURVIVED_WITHIN_S)
            self.figures.seconds(f"{victim} cut off: noticed, site answers elsewhere", time.monotonic() - began)
        finally:
            self.cluster.heal(victim)
        began = time.monotonic()
        self.wait_until_whole()
        self.figures.seconds(f"{victim} connected again: one leader, site answers there", time.monotonic() - began)

    def wait_until_whole(self) -> None:
        names = self.cluster.names
        for what, condition in {
            "all nodes see all others": lambda: all(
                self.is_available(other, on=name) for name in names for other in names if other != name
            ),
            "one leader for all": lambda: self.tutorial.leader(names),
            "the site answers everywhere": lambda: self.tutorial.site_answers(names),
            f"{WORKERS_SCALED} ready workers": lambda: len(self.tutorial.ready("site")) == WORKERS_SCALED,
        }.items():
            wait_until(what, condition, within_s=BACK_WITHIN_S)

    def load(self) -> site.SteadyLoad:
        hosts = [self.tutorial.address(name) for name in self.cluster.names]
        return site.SteadyLoad(hosts, rate=LOAD_RATE, seconds_max=LOAD_SECONDS_MAX)
