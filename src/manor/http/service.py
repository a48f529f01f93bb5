"""The server both agents are: routes in, checked requests to handlers, documents out. Start reading here.

    service = Service(name="cantal", version=VERSION, tokens=None, open_to_loopback=True, manners=FORGIVING)
    service.get("/status", lambda request: state.status())                 # plain data, or a message.Response
    service.post("/add_host", add_host, access="o")                        # functions and coroutines alike
    service.add(Route("POST", "/v1/delivery/commit", commit, access="dc", blocking=True))   # blocking: in a thread
    service.websocket("/peer/ws", serve_peer, access="-", subprotocols=("cantal-peer.1",))
    service.pages(single_page_application(folder))
    running = await start(service, "127.0.0.1", 22682)
    ...
    await running.close()

Every request goes the same way, in this order: size of the headers; Host; route, 404 or the page of that path; method,
405; Origin; identity, 401, 429; permission, 403; content type, 415; body, 408, 413; handler; format; compression.
A handler answers by returning, or raises `HttpProblem`; any other exception is a bug, logged and answered with 500.

`tokens`, `verifier` and `allowed_hosts` are attributes that may be replaced while the service runs.
"""

from __future__ import annotations

import asyncio
import html
import logging
import ssl
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from aiohttp import WSCloseCode, web

from manor.http import limits
from manor.http.answer import Answer, send
from manor.http.connections import Gate
from manor.http.doorkeeper import Doorkeeper
from manor.http.errors import HttpProblem
from manor.http.formats import Format, encode
from manor.http.manners import STRICT, Manners
from manor.http.message import Asked
from manor.http.pages import CONTENT_SECURITY_POLICY, FindPage
from manor.http.routes import Handler, Route, RouteTable
from manor.http.websocket import SocketHandler, SocketRoute
from manor.trust.requests import RequestVerifier
from manor.trust.tokens import Tokens

__all__ = ["Asked", "Running", "Service", "start"]

log = logging.getLogger(__name__)

MALFORMED_CHARACTERS_MAX: Final = 100


class Service:
    """The routes of one agent and the rules for all of them."""

    def __init__(
        self,
        *,
        name: str,
        version: str,
        tokens: Tokens | None = None,
        verifier: RequestVerifier | None = None,
        allowed_hosts: Iterable[str] = (),
        max_body: int = limits.BODY_BYTES_MAX,
        open_to_loopback: bool = False,
        manners: Manners = STRICT,
        audit: Callable[[Asked], None] | None = None,
        gate: Gate | None = None,
        body_within_s: float = limits.BODY_WITHIN_S,
    ) -> None:
        """
        Args:
            tokens: without them everybody may everything; with them nobody without one, but see `open_to_loopback`.
            verifier: of requests signed with the cluster key, which then are the only ones that may `c`.
            allowed_hosts: names of this node; IP literals and localhost always are.
            open_to_loopback: with tokens, loopback addresses still need none.
            audit: called after every changing request, also refused ones.
        """
        self.doorkeeper = Doorkeeper(tokens, verifier, open_to_loopback=open_to_loopback)
        self.allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self.gate = gate or Gate()
        self.own_headers = {"Server": f"{name}/{version}", "X-Content-Type-Options": "nosniff"}
        self.body_bytes_max = max_body
        self.body_within_s = body_within_s
        self.manners = manners
        self.routes = RouteTable()
        self.sockets: dict[str, SocketRoute] = {}
        self.find_page: FindPage | None = None
        self.open_sockets: set[web.WebSocketResponse] = set()
        self._audit = audit

    @property
    def tokens(self) -> Tokens | None:
        return self.doorkeeper.tokens

    @tokens.setter
    def tokens(self, tokens: Tokens | None) -> None:
        self.doorkeeper.tokens = tokens

    @property
    def verifier(self) -> RequestVerifier | None:
        return self.doorkeeper.verifier

    @verifier.setter
    def verifier(self, verifier: RequestVerifier | None) -> None:
        self.doorkeeper.verifier = verifier

    def add(self, *routes: Route) -> None:
        for route in routes:
            self.routes.add(route)

    def get(self, pattern: str, handler: Handler, *, access: str = "v", blocking: bool = False) -> None:
        self.add(Route("GET", pattern, handler, access, blocking=blocking, changes=False))

    def post(
        self,
        pattern: str,
        handler: Handler,
        *,
        access: str = "v",
        max_body: int | None = None,
        blocking: bool = False,
        changes: bool = True,
    ) -> None:
        self.add(Route("POST", pattern, handler, access, max_body, blocking=blocking, changes=changes))

    def websocket(
        self,
        path: str,
        handler: SocketHandler,
        *,
        access: str = "v",
        subprotocols: tuple[str, ...] = (),
        message_bytes_max: int = limits.SOCKET_MESSAGE_BYTES_MAX,
    ) -> None:
        """The socket is closed when the handler returns, and the handler's `receive` ends when it is closed."""
        self.sockets[path] = SocketRoute(handler, access, subprotocols, message_bytes_max)

    def pages(self, find: FindPage) -> None:
        """What GET answers where no route is. Open to everybody."""
        self.find_page = find

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_shutdown.append(self._close_sockets)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.gate.request_begins(request.transport)
        try:
            answer = Answer(self, request)
            try:
                response = await answer.make()
            except HttpProblem as problem:
                response = self._problem(request, problem)
            except Exception:
                log.exception("http.bug method=%s path=%s", request.method, request.path)
                response = self._problem(
                    request, HttpProblem(500, "this is a bug of the server; its log has the details")
                )
            if self._audit is not None and answer.changes:
                self._audit(answer.asked(response.status))
            if answer.body_is_broken:
                response.force_close()
            await send(request, response)
            if answer.body_is_broken:
                request.protocol.force_close()  # else the library reads on, and stumbles over it once more
            return response
        finally:
            self.gate.request_ends(request.transport)

    def malformed(self, message: str) -> web.Response:
        """The answer to what is no HTTP; the connection ends with it."""
        problem = HttpProblem(400, f"this is no HTTP request: {message}")
        body = encode(self.manners.document(problem), Format.JSON)
        response = web.Response(body=body, status=400, headers=self.own_headers, content_type="application/json")
        response.force_close()
        return response

    def _problem(self, request: web.BaseRequest, problem: HttpProblem) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        headers = self.own_headers | {"Cache-Control": "no-store"} | problem.headers
        if not self.manners.says_ok and "text/html" in accept and "application/json" not in accept:
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            text = f"<!doctype html>\n<title>{problem.status}</title>\n<p>{html.escape(problem.text)}</p>\n"
            return web.Response(
                text=text, status=problem.status, headers=headers, content_type="text/html", charset="utf-8"
            )
        body = encode(self.manners.document(problem), Format.JSON)
        return web.Response(body=body, status=problem.status, headers=headers, content_type="application/json")

    async def _close_sockets(self, _application: web.Application) -> None:
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down") for socket in self.open_sockets)
        )


class _Connection(web.RequestHandler):
    """The library's connection, but for what it says and logs of requests it could not read."""

    __slots__ = ("_service",)

    def __init__(self, service: Service, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._service = service

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != 400 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        first_line = (message or str(exc)).partition("\n")[0].rstrip(":")
        log.debug("http.malformed remote=%s reason=%s", request.remote, first_line)
        return self._service.malformed(first_line[:MALFORMED_CHARACTERS_MAX])


class Running:
    """A service that listens."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        self.host, self.port = server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Accept no more, tell the WebSockets, let requests in progress end for a few seconds, then cut."""
        self._server.close()
        await self._runner.cleanup()


async def start(service: Service, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Running:
    """Listen. Port 0 takes a free one, which `Running.port` then names.

    Raises:
        OSError: the address cannot be listened on.
    """
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=limits.CLOSE_WITHIN_S)
    await runner.setup()
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    connect = partial(
        _Connection,
        service,
        runner.server,
        loop=loop,
        access_log=None,
        keepalive_timeout=limits.IDLE_S,
        max_field_size=limits.HEADER_FIELD_BYTES_MAX,
    )
    try:
        server = await loop.create_server(service.gate.factory(connect), host, port, ssl=tls)
    except OSError:
        await runner.cleanup()
        raise
    return Running(runner, server)
