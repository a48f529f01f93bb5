"""Every path below /v1 in one table: method, who may, which answer. Read this first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manor.http.routes import Route
from manor.http.service import Service
from manor.verwalter.api import acting, leader_only, login, logs, nodes, schedules, status
from manor.verwalter.links.rounds import Rounds
from manor.verwalter.node import Node
from manor.verwalter.reports import REPORT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Parts:
    """What handlers may look at and call."""

    node: Node
    rounds: Rounds
    service: Service
    listen: Callable[[], asyncio.Event]  # an event that is set at every change
    log_dir: Path
    default_frontend: str


def routes(parts: Parts) -> tuple[Route, ...]:
    node = parts.node
    viewing = leader_only.LeaderOnly(node)
    doing = acting.Acting(node)
    redirect = leader_only.LeaderRedirect(node, parts.listen)
    log_files = logs.LogFiles(parts.log_dir)
    session = login.Login(parts.service)
    return (
        Route("GET", "/v1/health", lambda _request: {"ok": True}, "-"),
        Route("GET", "/v1/status", lambda _request: status.status(node, parts.rounds, parts.default_frontend)),
        Route("GET", "/v1/metrics", lambda _request: status.metrics(node)),
        Route("GET", "/v1/election", lambda _request: status.election(node)),
        Route("GET", "/v1/peers", lambda _request: nodes.peers(node)),
        Route("GET", "/v1/nodes", lambda _request: nodes.nodes(node)),
        Route("GET", "/v1/schedule", schedules.Schedules(node).get),
        Route("GET", "/v1/roles", lambda _request: schedules.roles(node)),
        Route("GET", "/v1/roles_data", lambda _request: schedules.roles_data(node)),
        Route("GET", "/v1/scheduler_input", viewing.scheduler_input),
        Route("GET", "/v1/scheduler_debug_info", viewing.scheduler_debug_info),
        Route("GET", "/v1/pending_actions", lambda _request: node.actions.documents()),
        Route("GET", "/v1/action_is_pending/{id}", doing.is_pending),
        Route("POST", "/v1/action", doing.register, "o"),
        Route("POST", "/v1/wait_action", doing.register_and_wait, "o"),
        Route("POST", "/v1/force_render_all", doing.force_render, "o"),
        Route("POST", "/v1/forget_orphan", doing.forget_orphan, "o"),
        Route("POST", "/v1/resign", doing.resign, "a"),
        Route("POST", "/v1/node_report", viewing.node_report, "c", body_bytes_max=REPORT_BYTES_MAX),
        Route("GET", "/v1/leader-redirect-by-node-name", redirect.answer, "-"),
        Route("GET", "/v1/leader-redirect-by-node-name/{rest*}", redirect.answer, "-"),
        Route("GET", "/v1/log/{kind}/{path*}", log_files.answer),
        Route("GET", "/v1/whoami", session.whoami, "-"),
        Route("POST", "/v1/login", session.log_in, "-"),
        Route("POST", "/v1/logout", session.log_out, "-"),
    )
