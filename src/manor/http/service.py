"""The server both agents are: routes in, checked requests to handlers, documents out. The one file that knows aiohttp.

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
import inspect
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp import WSCloseCode, WSMsgType, web

from manor.http import limits
from manor.http.access import (
    FailureLimit,
    check_host,
    check_origin,
    check_permission,
    is_loopback,
    token_of,
)
from manor.http.connections import Gate
from manor.http.errors import HttpProblem
from manor.http.formats import Format, encode
from manor.http.manners import STRICT, Manners
from manor.http.message import Request, Response
from manor.http.pages import CONTENT_SECURITY_POLICY, FindPage, Page
from manor.http.routes import Found, Handler, Route, RouteTable, allowed_methods
from manor.http.websocket import WebSocket
from manor.trust import requests as signed_requests
from manor.trust.errors import BadSignature
from manor.trust.requests import RequestVerifier
from manor.trust.tokens import Identity, Tokens

log = logging.getLogger(__name__)

SocketHandler: TypeAlias = Callable[[Request, WebSocket], Awaitable[None]]

EVERYBODY: Final = Identity("anonymous", "admin")  # where no tokens are set up
THIS_MACHINE: Final = Identity("local", "admin")  # whoever asks over loopback, where that is enough


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A path that becomes a WebSocket."""

    handler: SocketHandler
    access: str
    subprotocols: tuple[str, ...]
    message_bytes_max: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A changing request and how it ended, for whoever keeps an audit."""

    method: str
    path: str  # raw, with the query
    remote: str
    identity: Identity | None
    body: bytes  # empty if it was refused before its body was read
    status: int


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
    ) -> None:
        """
        Args:
            tokens: without them everybody may everything; with them nobody without one, but see `open_to_loopback`.
            verifier: of requests signed with the cluster key, which then are the only ones that may `c`.
            allowed_hosts: names of this node; IP literals and localhost always are.
            open_to_loopback: with tokens, loopback addresses still need none.
            audit: called after every changing request, also refused ones.
        """
        self.tokens = tokens
        self.verifier = verifier
        self.allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self.gate = gate or Gate()
        self._server_name = f"{name}/{version}"
        self._body_bytes_max = max_body
        self._open_to_loopback = open_to_loopback
        self._manners = manners
        self._audit = audit
        self._routes = RouteTable()
        self._sockets: dict[str, SocketRoute] = {}
        self._find_page: FindPage | None = None
        self._failures = FailureLimit()
        self._open_sockets: set[web.WebSocketResponse] = set()

    def add(self, *routes: Route) -> None:
        for route in routes:
            self._routes.add(route)

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
        self._sockets[path] = SocketRoute(handler, access, subprotocols, message_bytes_max)

    def pages(self, find: FindPage) -> None:
        """What GET answers where no route is. Open to everybody."""
        self._find_page = find

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_shutdown.append(self._close_sockets)
        return application

    # One request, from the outside to the inside.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.gate.request_begins(request.transport)
        try:
            answer = _Answer(self, request)
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
            await _send(request, response)
            return response
        finally:
            self.gate.request_ends(request.transport)

    def _problem(self, request: web.Request, problem: HttpProblem) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        headers = self._headers() | {"Cache-Control": "no-store"} | problem.headers
        if not self._manners.says_ok and "text/html" in accept and "application/json" not in accept:
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            text = f"<!doctype html>\n<title>{problem.status}</title>\n<p>{html.escape(problem.text)}</p>\n"
            return web.Response(
                text=text, status=problem.status, headers=headers, content_type="text/html", charset="utf-8"
            )
        body = encode(self._manners.document(problem), Format.JSON)
        return web.Response(body=body, status=problem.status, headers=headers, content_type="application/json")

    def _headers(self) -> dict[str, str]:
        return {"Server": self._server_name, "X-Content-Type-Options": "nosniff"}

    async def _close_sockets(self, _application: web.Application) -> None:
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down") for socket in self._open_sockets)
        )


class _Answer:
    """One request on its way through the service."""

    def __init__(self, service: Service, request: web.Request) -> None:
        self._service = service
        self._request = request
        self._identity: Identity | None = None
        self._body = b""
        self.changes = request.method not in ("GET", "HEAD")

    def asked(self, status: int) -> Asked:
        request = self._request
        return Asked(request.method, request.raw_path, request.remote or "", self._identity, self._body, status)

    async def make(self) -> web.StreamResponse:
        request, service = self._request, self._service
        if sum(len(name) + len(value) for name, value in request.raw_headers) > limits.HEADER_BYTES_MAX:
            raise HttpProblem(431, f"the headers have more than {limits.HEADER_BYTES_MAX} bytes")
        check_host(request.headers.get("Host"), service.allowed_hosts)
        path = request.raw_path.partition("?")[0]
        socket = service._sockets.get(path)
        if socket is not None and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._open_socket(socket)
        manners = service._manners
        found = service._routes.find(path, manners.formats, manners.other_suffixes)
        if found is None or (self._method not in found.routes and self._method == "GET"):
            page = self._page(path)
            if page is not None:
                return page
        if found is None:
            if socket is not None:
                raise HttpProblem(426, "this path is a WebSocket", headers={"Upgrade": "websocket"})
            raise HttpProblem(404, "no such path")
        return await self._handle(found)

    @property
    def _method(self) -> str:
        return "GET" if self._request.method == "HEAD" else self._request.method

    def _page(self, path: str) -> web.StreamResponse | None:
        find = self._service._find_page
        page: Page | None = find(path) if find is not None else None
        if page is None:
            return None
        if self._method != "GET":
            raise HttpProblem(405, "pages can only be read", headers={"Allow": "GET, HEAD"})
        headers = self._service._headers() | {"Cache-Control": page.cache_control}
        if page.file.suffix == ".html":
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return web.FileResponse(page.file, headers=headers)

    async def _handle(self, found: Found) -> web.StreamResponse:
        route = found.routes.get(self._method)
        if route is None:
            allowed = allowed_methods(found.routes)
            raise HttpProblem(
                405, f"{self._request.method} is not for this path; {allowed} would be", headers={"Allow": allowed}
            )
        self.changes = route.changes and route.method != "GET"
        await self._authorise(route.access, changes=route.method != "GET", body_bytes_max=self._limit(route))
        if route.method != "GET":
            self._check_content_type(route)
            await self._read_body(self._limit(route))
        request = self._message(found)
        if route.blocking:
            result = await asyncio.to_thread(route.handler, request)
        else:
            result = route.handler(request)
        if inspect.isawaitable(result):
            result = await result
        return self._respond(result if isinstance(result, Response) else Response(data=result), found.format)

    def _limit(self, route: Route) -> int:
        return route.body_bytes_max if route.body_bytes_max is not None else self._service._body_bytes_max

    def _message(self, found: Found) -> Request:
        request = self._request
        return Request(
            method=self._method,
            path=found.path,
            format=found.format,
            parameters=found.parameters,
            query={name: request.query[name] for name in request.query},
            headers=request.headers,
            body=self._body,
            remote=request.remote or "",
            identity=self._identity,
        )

    async def _authorise(self, access: str, *, changes: bool, body_bytes_max: int) -> None:
        """Sets the identity, or raises 401, 403, 429."""
        request, service = self._request, self._service
        headers, remote = request.headers, request.remote or ""
        token, from_cookie = token_of(headers)
        if changes:
            check_origin(headers.get("Origin"), headers.get("Host"), cookie=from_cookie)
        now = time.monotonic()
        try:
            if headers.get("Authorization", "").startswith(f"{signed_requests.SCHEME} "):
                service._failures.check(remote, now)
                await self._read_body(body_bytes_max)
                self._identity = self._signer()
            elif token is not None and service.tokens is not None:
                self._identity = service.tokens.remembered(token)
                if self._identity is None:
                    service._failures.check(remote, now)
                    self._identity = await asyncio.to_thread(service.tokens.authenticate, token)
                if self._identity is None:
                    raise HttpProblem(
                        401, "this token is not known, or no longer", headers={"WWW-Authenticate": "Bearer"}
                    )
            elif service.tokens is None:
                self._identity = EVERYBODY
                if access == "c" and service.verifier is None:
                    return  # a node alone on its loopback address, without a key
            elif service._open_to_loopback and is_loopback(remote):
                self._identity = THIS_MACHINE
        except HttpProblem as problem:
            if problem.status == 401:
                service._failures.failed(remote, now)
            if access != "-" or problem.status not in (401, 429):
                raise
        check_permission(self._identity, access)

    def _signer(self) -> Identity:
        request, verifier = self._request, self._service.verifier
        if verifier is None:
            raise HttpProblem(401, "this node has no cluster key, so it cannot verify a signed request")
        try:
            node_id = verifier.verify(
                request.headers["Authorization"],
                method=request.method,
                path=request.raw_path,
                body=self._body,
                now=time.time(),
            )
        except BadSignature as error:
            raise HttpProblem(401, str(error)) from error
        return Identity(node_id, "node")

    def _check_content_type(self, route: Route) -> None:
        if not (self._service._manners.needs_json_type and route.json_body):
            return
        request = self._request
        nothing = not request.body_exists and "Content-Type" not in request.headers
        if not nothing and request.content_type != "application/json":
            raise HttpProblem(415, "`Content-Type: application/json` would be right")

    async def _read_body(self, bytes_max: int) -> None:
        """The whole body, unpacked if it came compressed; at most once."""
        request = self._request
        if self._body or not request.body_exists:
            return
        too_large = HttpProblem(413, f"the body has more than {bytes_max} bytes")
        if (request.content_length or 0) > bytes_max:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(limits.BODY_WITHIN_S * (1 + bytes_max // limits.ANSWER_STEP_BYTES)):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    if size > bytes_max:
                        raise too_large
                    pieces.append(piece)
        except TimeoutError as error:
            raise HttpProblem(408, "the body did not come in time") from error
        except web.HTTPException as error:
            raise HttpProblem(error.status, error.reason) from error
        self._body = b"".join(pieces)

    def _respond(self, response: Response, format_: Format) -> web.StreamResponse:
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"} | self._service._headers()
        headers |= response.headers
        if response.file is not None:
            if response.content_type is not None:
                headers["Content-Type"] = response.content_type
            return web.FileResponse(response.file, status=response.status, headers=headers)
        etag = headers.get("ETag")
        if etag is not None and etag in _listed(self._request.headers.get("If-None-Match", "")):
            return web.Response(status=304, headers=headers)
        body = response.body if response.body is not None else encode(response.data, format_)
        headers["Content-Type"] = response.content_type or (
            format_.content_type if response.body is None else "application/octet-stream"
        )
        answer = web.Response(body=body, status=response.status, headers=headers)
        if len(body) > limits.COMPRESS_ABOVE_BYTES and "Content-Encoding" not in headers:
            answer.enable_compression()
        return answer

    async def _open_socket(self, route: SocketRoute) -> web.StreamResponse:
        request, service = self._request, self._service
        check_origin(request.headers.get("Origin"), request.headers.get("Host"), cookie=False)
        await self._authorise(route.access, changes=True, body_bytes_max=0)
        response = web.WebSocketResponse(
            protocols=route.subprotocols,
            heartbeat=limits.SOCKET_PING_EVERY_S,
            max_msg_size=route.message_bytes_max,
        )
        response.headers.update(service._headers())
        path = request.raw_path.partition("?")[0]
        message = self._message(Found({}, path, {}, Format.JSON))
        await response.prepare(request)
        service._open_sockets.add(response)
        try:
            await route.handler(message, _Socket(request, response))
        except ConnectionError:
            log.debug("http.socket_lost path=%s remote=%s", path, request.remote)
        except Exception:
            log.exception("http.bug path=%s", path)
            await response.close(code=WSCloseCode.INTERNAL_ERROR)
        finally:
            service._open_sockets.discard(response)
            if not response.closed:
                await response.close()
        return response


class _Socket:
    """The library's socket as `websocket.WebSocket`."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse) -> None:
        self._request = request
        self._response = response

    @property
    def subprotocol(self) -> str | None:
        return self._response.ws_protocol

    @property
    def unsent_bytes(self) -> int:
        transport = self._request.transport
        return transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0

    async def receive(self) -> str | bytes | None:
        message = await self._response.receive()
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        return None

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._response.send_str(message)
        else:
            await self._response.send_bytes(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._response.close(code=code, message=reason.encode()[:120])


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    """Send here and not after the handler returned, so that a reader who never reads is given up."""
    if isinstance(response, web.WebSocketResponse):
        return
    size = len(response.body) if isinstance(response, web.Response) and isinstance(response.body, bytes) else 0
    if isinstance(response, web.FileResponse):
        size = limits.ANSWER_STEP_BYTES * 16  # its size is known only once it is sent
    try:
        async with asyncio.timeout(limits.ANSWER_WITHIN_S * (1 + size // limits.ANSWER_STEP_BYTES)):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        log.info("http.reader_too_slow remote=%s path=%s", request.remote, request.path)
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        log.debug("http.reader_gone remote=%s path=%s", request.remote, request.path)


def _listed(header: str) -> list[str]:
    return [entry.strip().removeprefix("W/") for entry in header.split(",")]


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
    runner = web.AppRunner(
        service.application(),
        access_log=None,
        keepalive_timeout=limits.IDLE_S,
        max_field_size=limits.HEADER_FIELD_BYTES_MAX,
        shutdown_timeout=limits.CLOSE_WITHIN_S,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(service.gate.factory(runner.server), host, port, ssl=tls)
    except OSError:
        await runner.cleanup()
        raise
    return Running(runner, server)
