"""How waiting for an action ends, in one process: a node that leads, and rounds the test plays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.message import Request, Response
from manor.trust.tokens import Identity as Asker
from manor.verwalter.api.acting import Acting
from manor.verwalter.election.machine import Leader
from manor.verwalter.identity import Identity
from manor.verwalter.node import Node
from manor.verwalter.settings import Settings
from manor.verwalter.state_files import Storage

ANN = Asker("ann", "operator", ("site*",))


class Nowhere:
    def send(self, address: str, packet: bytes) -> None: ...

    def fetch(self, order: object, address: str) -> None: ...

    def changed(self) -> None: ...


def leading_node(directory: Path) -> Node:
    identity = Identity("aa" * 16, "alpha", "alpha", "default", "local", "127.0.0.1", 8379)
    node = Node(identity, Settings(), Storage(directory), None)
    node.outside = Nowhere()
    node.election.state = Leader(since=0.0)
    return node


def request(document: Any, asker: Asker | None = None) -> Request:
    body = json.dumps(document).encode()
    return Request("POST", "/v1/wait_action", Format.JSON, {}, {}, {}, body, "127.0.0.1", asker)


@pytest.mark.case("verwalter-22")
def test_waiting_ends_with_the_answer_without_one_or_with_the_leadership(tmp_path: Path) -> None:
    async def story() -> None:
        node = leading_node(tmp_path)
        acting = Acting(node)
        waiting = [asyncio.create_task(acting.register_and_wait(request({"n": n}))) for n in range(2)]
        await asyncio.sleep(0)
        given = node.actions.documents()
        first, _second = given
        late = asyncio.create_task(acting.register_and_wait(request({"n": 2})))
        await asyncio.sleep(0)
        node.actions.succeeded(given, {first: {"ok": True, "message": "done"}})
        assert await waiting[0] == {"ok": True, "message": "done"}
        nothing = await waiting[1]
        assert isinstance(nothing, Response)
        assert (nothing.status, nothing.body) == (204, b"")
        node.actions.lose_all()
        with pytest.raises(HttpProblem, match="the action is lost") as lost:
            await late
        assert lost.value.status == 503

    asyncio.run(story())


def test_an_action_bears_the_name_of_whoever_asked_for_it(tmp_path: Path) -> None:
    node = leading_node(tmp_path)
    Acting(node).register(request({"button": {"role": "site-a"}}, ANN))
    (document,) = node.actions.documents().values()
    assert document == {"button": {"role": "site-a"}, "by": "ann"}
    for button in ({"role": "other"}, {}, None):
        with pytest.raises(HttpProblem, match="`ann` may not act on the role") as refused:
            Acting(node).register(request({"button": button}, ANN))
        assert refused.value.status == 403
