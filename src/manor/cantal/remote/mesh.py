"""The asker's side of the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manor.http.service import Service

if TYPE_CHECKING:
    from manor.cantal.agent_process import AgentProcess


class Mesh:
    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self.active = False

    def mount(self, service: Service) -> None: ...

    def summary(self) -> dict[str, Any]:
        return {"active": self.active, "connected": 0, "total": 0, "subscriptions": 0}

    def numbers(self) -> dict[str, int]:
        return {}

    def add_clock_skew(self, peers: list[dict[str, Any]]) -> None: ...

    async def close(self) -> None: ...
