"""The demo's live picture: one line a node, redrawn until somebody stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from manor.cluster import site
from manor.cluster.tutorial import Tutorial
from manor.config.errors import ManorError

REFRESH_S = 2.0


def show_until_stopped(tutorial: Tutorial) -> None:
    """Never returns by itself; the caller's signal handler raises."""
    console = Console()
    if not console.is_terminal:
        while True:
            time.sleep(REFRESH_S)
    with Live(picture(tutorial), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            live.update(picture(tutorial), refresh=True)


def picture(tutorial: Tutorial) -> Table:
    table = Table(title="manor demo (Ctrl-C takes everything down)", title_justify="left")
    for heading in ("node", "site", "verwalter", "peers", "running"):
        table.add_column(heading)
    for name in tutorial.cluster.names:
        if not tutorial.cluster.is_alive(name):
            table.add_row(name, "", "[red]dead[/red]", "", "")
            continue
        table.add_row(
            name,
            attempt(partial(site_line, tutorial, name)),
            attempt(partial(election_line, tutorial, name)),
            attempt(partial(peers_line, tutorial, name)),
            attempt(partial(running_line, tutorial, name)),
        )
    return table


def attempt(line: Callable[[], str]) -> str:
    try:
        return line()
    except (ManorError, OSError, KeyError, ValueError) as error:
        return f"[red]{str(error)[:60]}[/red]"


def site_line(tutorial: Tutorial, name: str) -> str:
    told = site.who_answers(tutorial.address(name))
    return f"{tutorial.site_url(name)}\nrelease {told['version']}, visit {told['visits']}, by {told['node']}"


def election_line(tutorial: Tutorial, name: str) -> str:
    status: dict[str, Any] = tutorial.agents.verwalter(tutorial.address(name), "status")
    leader = status["leader"]
    if leader is None:
        return "[yellow]no leader[/yellow]"
    if leader["hostname"] == name:
        return "[green]leader[/green]"
    return f"follows {leader['hostname']}, {status['schedule_status']}"


def peers_line(tutorial: Tutorial, name: str) -> str:
    peers = tutorial.agents.cantal(tutorial.address(name), "/all_peers.json")["peers"]
    return f"{sum(bool(peer['available']) for peer in peers)} of {len(peers)}"


def running_line(tutorial: Tutorial, name: str) -> str:
    return "\n".join(f"{key.split()[1]} {state}" for key, state in sorted(tutorial.instances([name]).items()))
