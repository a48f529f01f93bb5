"""Real servers on free ports of loopback, asked by a real client and, for what clients never do, by bare sockets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from manor.http.connections import Gate
from manor.http.errors import HttpProblem
from manor.http.manners import FORGIVING, STRICT
from manor.http.message import Request, Response
from manor.http.pages import single_page_application
from manor.http.routes import Route
from manor.http.service import Asked, Running, Service, start
from manor.http.websocket import WebSocket
from manor.trust.keys import ClusterKeys
from manor.trust.requests import RequestVerifier, sign
from manor.trust.tokens import TokenEntry, Tokens, make_token

KEYS = ClusterKeys.parse("07" * 32, "k").purpose("node-report")


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    running = await start(service, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as session:
            yield session
    finally:
        await running.close()


def service(**options: Any) -> Service:
    made = Service(name="alpha", version="v1", **({"allowed_hosts": ["node-1"]} | options))
    made.get("/v1/status", lambda request: {"leader": {"name": "alpha"}, "n": 1})
    made.post("/v1/action", lambda request: {"got": request.json()}, access="o")
    made.get("/v1/file/{name}", lambda request: request.parameters, access="v")
    return made


def run(story: Callable[[aiohttp.ClientSession], Any], made: Service) -> None:
    async def play() -> None:
        async with serving(made) as session:
            await story(session)

    asyncio.run(play())


def test_the_suffix_chooses_the_format() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        for path, kind, text in [
            ("/v1/status", "application/json", '{"leader":{"name":"alpha"},"n":1}'),
            ("/v1/status.json", "application/json", '{"leader":{"name":"alpha"},"n":1}'),
            ("/v1/status.what", "application/json", '{"leader":{"name":"alpha"},"n":1}'),
            ("/v1/status.gron", "text/x-gron", 'json.leader.name = "alpha";\njson.n = 1;\n'),
            ("/v1/status.pretty", "application/json", '{\n  "leader": {\n    "name": "alpha"\n  },\n  "n": 1\n}\n'),
        ]:
            async with http.get(path) as answer:
                assert (answer.status, answer.content_type, await answer.text()) == (200, kind, text)
                assert answer.headers["Server"] == "alpha/v1"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"

    run(story, service())


def test_both_agents_word_errors_in_their_own_form() -> None:
    async def strict(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/nothing") as answer:
            assert (answer.status, await answer.json()) == (404, {"error": "no such path", "code": "not-found"})
        async with http.get("/v1/nothing", headers={"Accept": "text/html,*/*;q=0.8"}) as answer:
            assert answer.content_type == "text/html"
            assert "no such path" in await answer.text()
            assert "script" not in answer.headers["Content-Security-Policy"]

    async def forgiving(http: aiohttp.ClientSession) -> None:
        for path in ("/v1/nothing", "/v1/status.pretty", "/v1/status/"):
            async with http.get(path, headers={"Accept": "text/html"}) as answer:
                assert (answer.status, await answer.json()) == (404, {"ok": False, "error": "no such path"})

    run(strict, service())
    run(forgiving, service(manners=FORGIVING))


def test_a_wrong_method_names_the_right_ones_and_changes_nothing() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/action") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with http.post("/v1/status", json={}) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")

    run(story, service())


def test_head_is_get_without_the_body() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.head("/v1/status") as answer:
            assert (answer.status, answer.headers["Content-Length"], await answer.read()) == (200, "33", b"")

    run(story, service())


def test_a_body_needs_the_json_type_where_the_agent_is_strict() -> None:
    async def strict(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/action", data=b"{}") as answer:
            assert answer.status == 415
        async with http.post(
            "/v1/action", data=b"1", headers={"Content-Type": "application/json; charset=utf-8"}
        ) as answer:
            assert await answer.json() == {"got": 1}

    async def forgiving(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/action", data=b'{"a": 1}') as answer:
            assert await answer.json() == {"got": {"a": 1}}

    run(strict, service(manners=STRICT))
    run(forgiving, service(manners=FORGIVING))


@pytest.mark.parametrize(
    ("body", "position", "text"),
    [
        (b'{"a": 1,}', 8, "body:1:9: "),
        (b'{\n "a" 1}', 7, "body:2:6: expecting ':' delimiter; a JSON document would be right"),
        (b"", 0, "body:1:1: expecting value"),
        (b'"\xff"', 1, "no UTF-8 at byte 1"),
        (b"[NaN]", 0, "`NaN` is no JSON value"),
        (b"[" * 60_000, 0, "nested too deeply"),
    ],
)
def test_bad_json_is_400_with_the_position(body: bytes, position: int, text: str) -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/action", data=body, headers={"Content-Type": "application/json"}) as answer:
            document = await answer.json()
            assert answer.status == 400
            assert document["position"] == position
            assert text in document["error"]

    run(story, service())


def test_a_body_that_is_too_large_is_413_also_if_it_is_so_only_unpacked(caplog: pytest.LogCaptureFixture) -> None:
    import zlib

    async def story(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/action", json="x" * 2000) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"] == "the body has more than 1000 bytes"
        packed = zlib.compress(json.dumps("x" * 2000).encode())
        headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
        async with http.post("/v1/action", data=packed, headers=headers) as answer:
            assert answer.status == 413
        async with http.post("/v1/action", data=b"no deflate", headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (
                400,
                "the body is not encoded as its headers say",
            )
        async with http.post("/v1/action", data=zlib.compress(b"5"), headers=headers) as answer:
            assert await answer.json() == {"got": 5}

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b" " * 100

        async with http.post("/v1/action", data=chunks(), headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 413

    run(story, service(max_body=1000))
    assert caplog.text == ""


def test_a_foreign_host_or_origin_is_refused() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/status", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        async with http.get("/v1/status", headers={"Host": "node-1:80"}) as answer:
            assert answer.status == 200
        async with http.post("/v1/action", json=1, headers={"Origin": "http://evil.example"}) as answer:
            assert answer.status == 403
        own = str(http._base_url).rstrip("/")
        async with http.post("/v1/action", json=1, headers={"Origin": own}) as answer:
            assert answer.status == 200
        async with http.get("/v1/status", headers={"Origin": "http://evil.example"}) as answer:
            assert answer.status == 200
            assert "Access-Control-Allow-Origin" not in answer.headers

    run(story, service())


def known(**roles: str) -> tuple[Tokens, dict[str, str]]:
    import yaml

    entries, secrets = [], {}
    for name, role in roles.items():
        secrets[name], entry = make_token(name, role)  # type: ignore[arg-type]
        entries.append(TokenEntry(**yaml.safe_load(entry)[0]))
    return Tokens(entries), secrets


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_with_tokens_nobody_is_401_too_little_is_403_and_enough_is_heard() -> None:
    tokens, secrets = known(vic="viewer", oli="operator", dee="deployer", ada="admin")

    async def story(http: aiohttp.ClientSession) -> None:
        statuses: dict[str, tuple[int, int]] = {}
        everybody = {"": {}, "wrong": bearer("vic.x"), **{name: bearer(secret) for name, secret in secrets.items()}}
        for name, headers in everybody.items():
            async with (
                http.get("/v1/status", headers=headers) as got,
                http.post("/v1/action", json=1, headers=headers) as posted,
            ):
                statuses[name] = (got.status, posted.status)
        assert statuses == {
            "": (401, 401),
            "wrong": (401, 401),
            "vic": (200, 403),
            "oli": (200, 200),
            "dee": (200, 403),
            "ada": (200, 200),
        }

    run(story, service(tokens=tokens))


def test_loopback_needs_no_token_where_the_agent_says_so() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/action", json=1) as answer:
            assert answer.status == 200

    run(story, service(tokens=known(vic="viewer")[0], open_to_loopback=True))


def test_the_cookie_works_for_our_own_pages_only() -> None:
    tokens, secrets = known(oli="operator")

    async def story(http: aiohttp.ClientSession) -> None:
        cookie = {"Cookie": f"manor={secrets['oli']}"}
        own = {"Origin": str(http._base_url).rstrip("/")}
        for headers, status in [(cookie, 403), (cookie | {"Origin": "http://evil.example"}, 403), (cookie | own, 200)]:
            async with http.post("/v1/action", json=1, headers=headers) as answer:
                assert answer.status == status
        async with http.get("/v1/status", headers=cookie) as answer:
            assert answer.status == 200

    run(story, service(tokens=tokens))


def test_whoever_guesses_tokens_waits() -> None:
    tokens, secrets = known(vic="viewer")

    async def story(http: aiohttp.ClientSession) -> None:
        for _ in range(10):
            async with http.get("/v1/status", headers=bearer("nobody.x")) as answer:
                assert answer.status == 401
        async with http.get("/v1/status", headers=bearer(secrets["vic"])) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60

    run(story, service(tokens=tokens))


def test_a_node_signs_with_the_cluster_key_and_may_then_report_and_read() -> None:
    made = service(tokens=known(ada="admin")[0], verifier=RequestVerifier(KEYS))
    made.post("/v1/node_report", lambda request: request.identity.name, access="c")  # type: ignore[union-attr]

    async def story(http: aiohttp.ClientSession) -> None:
        def signed(method: str, path: str, body: bytes, keys: Any = KEYS) -> dict[str, str]:
            value = sign(keys, method=method, path=path, body=body, node_id="7798", now=time.time())
            return {"Authorization": value, "Content-Type": "application/json"}

        report = signed("POST", "/v1/node_report?a=%20b", b"{}")
        async with http.post("/v1/node_report?a=%20b", data=b"{}", headers=report) as answer:
            assert await answer.json() == "7798"
        async with http.post("/v1/node_report?a=%20b", data=b"{}", headers=report) as answer:
            assert (answer.status, (await answer.json())["error"]) == (
                401,
                "this request came before; each is good once",
            )
        async with http.post(
            "/v1/node_report", data=b"{ }", headers=signed("POST", "/v1/node_report", b"{}")
        ) as answer:
            assert answer.status == 401
        async with http.get("/v1/status", headers=signed("GET", "/v1/status", b"")) as answer:
            assert answer.status == 200
        async with http.post("/v1/action", data=b"1", headers=signed("POST", "/v1/action", b"1")) as answer:
            assert answer.status == 403
        async with http.post("/v1/node_report", json={}) as answer:
            assert answer.status == 401

    run(story, made)


@pytest.mark.parametrize(("verifier", "status"), [(None, 200), (RequestVerifier(KEYS), 403)], ids=["no key", "key"])
def test_a_node_without_a_key_hears_any_report_and_with_one_only_signed_ones(
    verifier: RequestVerifier | None, status: int
) -> None:
    made = service(verifier=verifier)
    made.post("/v1/node_report", lambda request: "ok", access="c")

    async def story(http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/node_report", json={}) as answer:
            assert answer.status == status

    run(story, made)


def test_every_changing_request_is_told_to_the_audit_also_a_refused_one() -> None:
    tokens, secrets = known(oli="operator", vic="viewer")
    heard: list[Asked] = []
    made = service(tokens=tokens, audit=heard.append)
    made.post("/v1/query", lambda request: 1, changes=False)

    async def story(http: aiohttp.ClientSession) -> None:
        for headers in (bearer(secrets["oli"]), bearer(secrets["vic"]), {"Origin": "http://evil.example"}):
            async with http.post("/v1/action?x", json=1, headers=headers):
                pass
        async with http.post("/v1/query", json=1, headers=bearer(secrets["vic"])):
            pass

    run(story, made)
    assert [(a.identity.name if a.identity else None, a.path, a.status, a.body) for a in heard] == [
        ("oli", "/v1/action?x", 200, b"1"),
        ("vic", "/v1/action?x", 403, b""),
        (None, "/v1/action?x", 403, b""),
    ]


def test_a_bug_in_a_handler_is_500_and_the_next_request_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    made = service()
    made.get("/v1/bug", lambda request: 1 // 0)
    made.get("/v1/undocumented", lambda request: object())

    async def story(http: aiohttp.ClientSession) -> None:
        for path in ("/v1/bug", "/v1/undocumented"):
            async with http.get(path) as answer:
                assert answer.status == 500
                assert "ZeroDivision" not in await answer.text()
        async with http.get("/v1/status") as answer:
            assert answer.status == 200

    run(story, made)
    assert "http.bug method=GET path=/v1/bug" in caplog.text


def test_handlers_may_wait_block_and_answer_with_more_than_a_document(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("0123456789")

    async def waits(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(data={"a": 1}, status=202, headers={"ETag": '"x"'})

    def refuses(request: Request) -> None:
        raise HttpProblem(409, "not the leader", details={"leader": "beta"})

    made = service()
    made.get("/v1/waits", waits)
    made.add(Route("PUT", "/v1/blob", lambda request: len(request.body), json_body=False, blocking=True))
    made.get("/v1/refuses", refuses)
    made.get("/v1/log", lambda request: Response(file=file, content_type="text/plain"))

    async def story(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/waits") as answer:
            assert (answer.status, await answer.json()) == (202, {"a": 1})
        async with http.get("/v1/waits", headers={"If-None-Match": '"y", W/"x"'}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        async with http.put("/v1/blob", data=b"\0" * 500) as answer:
            assert await answer.json() == 500
        async with http.get("/v1/refuses") as answer:
            assert await answer.json() == {"error": "not the leader", "code": "conflict", "leader": "beta"}
        async with http.get("/v1/log", headers={"Range": "bytes=5-9"}) as answer:
            assert (answer.status, await answer.text(), answer.content_type) == (206, "56789", "text/plain")
        async with http.get("/v1/log", headers={"Range": "bytes=20-"}) as answer:
            assert answer.status == 416

    run(story, made)


def test_large_answers_are_compressed_for_those_who_can() -> None:
    made = service()
    made.get("/v1/large", lambda request: ["peer"] * 1000)

    async def story(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/large", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.json() == ["peer"] * 1000
        async with http.get("/v1/large", headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
        async with http.get("/v1/status", headers={"Accept-Encoding": "gzip"}) as answer:
            assert "Content-Encoding" not in answer.headers

    run(story, made)


def test_pages_stand_where_no_route_is(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>app")
    made = service()
    made.pages(single_page_application(tmp_path))
    made.post("/remote/query", lambda request: "answer")

    async def story(http: aiohttp.ClientSession) -> None:
        for path in ("/", "/local/x", "/remote/query"):
            async with http.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, "<p>app")
                assert "script-src" in answer.headers["Content-Security-Policy"] or "default-src 'self'" in str(
                    answer.headers
                )
        async with http.get("/nothing.js") as answer:
            assert answer.status == 404
        async with http.post("/local/x", json=1) as answer:
            assert answer.status == 405
        async with http.get("/v1/status") as answer:
            assert await answer.json() == {"leader": {"name": "alpha"}, "n": 1}

    run(story, made)


def test_a_websocket_carries_messages_and_is_told_when_the_server_closes() -> None:
    async def echo(request: Request, socket: WebSocket) -> None:
        while (message := await socket.receive()) is not None:
            if message == "close":
                await socket.close(4408, "too slow")
                return
            await socket.send(message)

    made = service()
    made.websocket("/peer/ws", echo, access="-", subprotocols=("cantal-peer.1",), message_bytes_max=1000)

    async def story() -> None:
        running = await start(made, "127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as http:
            async with http.ws_connect("/peer/ws", protocols=("cantal-peer.1",)) as socket:
                assert socket.protocol == "cantal-peer.1"
                await socket.send_bytes(b"\x01")
                assert (await socket.receive()).data == b"\x01"
                await socket.send_str("text")
                assert (await socket.receive()).data == "text"
                await socket.send_str("close")
                await socket.receive()
                assert socket.close_code == 4408
            async with http.ws_connect("/peer/ws") as socket:
                await socket.send_bytes(bytes(2000))
                await socket.receive()
                assert socket.close_code == 1009
            async with http.get("/peer/ws") as answer:
                assert answer.status == 426
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect("/peer/ws", headers={"Origin": "http://evil.example"})
            assert caught.value.status == 403
            async with http.ws_connect("/peer/ws") as socket:
                closing = asyncio.create_task(running.close())
                await socket.receive()
                assert socket.close_code == 1001
                await closing

    asyncio.run(asyncio.wait_for(story(), 30))


def test_too_many_connections_are_answered_503_and_those_that_stay_silent_are_closed() -> None:
    made = service(gate=Gate(connections_max=10, per_address_max=2, headers_within_s=0.3))

    async def story() -> None:
        running = await start(made, "127.0.0.1", 0)
        slow = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(2)]
        slow[0][1].write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX-Drip: ")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        refused = await reader.read()
        assert refused.startswith(b"HTTP/1.1 503 ") and b"Retry-After" in refused
        writer.close()
        for reader, writer in slow:
            assert await reader.read() == b""
            writer.close()
        url = f"http://127.0.0.1:{running.port}/v1/status"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            assert answer.status == 200
        await running.close()
        assert made.gate.refused == 1 and not made.gate.by_address

    asyncio.run(asyncio.wait_for(story(), 30))


def test_headers_that_are_too_large_are_refused() -> None:
    async def story(http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/status", headers={f"X-{n}": "x" * 4000 for n in range(5)}) as answer:
            assert answer.status == 431

    run(story, service())


def test_closing_lets_a_request_in_progress_end() -> None:
    made = service()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(request: Request) -> str:
        begun.set()
        await go_on.wait()
        return "done"

    made.get("/v1/waits", waits)

    async def story() -> None:
        running: Running = await start(made, "127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as http:
            asking = asyncio.create_task(http.get("/v1/waits"))
            await begun.wait()
            closing = asyncio.create_task(running.close())
            await asyncio.sleep(0)
            go_on.set()
            assert await (await asking).json() == "done"
            await closing

    asyncio.run(asyncio.wait_for(story(), 30))


def test_an_address_in_use_is_an_error_of_the_caller() -> None:
    async def story() -> None:
        running = await start(service(), "127.0.0.1", 0)
        with pytest.raises(OSError, match="in use"):
            await start(service(), "127.0.0.1", running.port)
        await running.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "HTTPS traffic on an HTTP port"),
        (b"GET / HTTP/9.9\r\n\r\n", "Bad status line"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", "more than 8192 bytes"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "Duplicate Content-Length"),
    ],
)
def test_what_is_no_http_is_answered_in_one_line_and_not_logged(
    sent: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = service()

    async def story() -> None:
        running = await start(made, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await running.close()
        assert b" 400 " in head and b"Server: alpha/v1" in head
        assert reason in json.loads(body)["error"] and "\n" not in json.loads(body)["error"]

    asyncio.run(asyncio.wait_for(story(), 30))
    assert caplog.text == ""
