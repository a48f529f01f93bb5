"""One request on its way through a service: every check in its order, the handler, the answer's form."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, web
from aiohttp.abc import AbstractStreamWriter

from manor.http import limits
from manor.http.access import check_host, check_origin, token_of
from manor.http.errors import HttpProblem
from manor.http.formats import Format, encode
from manor.http.message import Asked, Request, Response
from manor.http.pages import CONTENT_SECURITY_POLICY, Page
from manor.http.routes import Found, Route, allowed_methods
from manor.http.websocket import OpenSocket, SocketRoute
from manor.trust.tokens import Identity

if TYPE_CHECKING:
    from manor.http.service import Service

log = logging.getLogger(__name__)


class SentFile(web.FileResponse):
    """A file as an answer. The library prepares an answer once more after it was sent; files do not expect that."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None if self.prepared else await super().prepare(request)


class Answer:
    """One request on its way through the service."""

    def __init__(self, service: Service, request: web.Request) -> None:
        self._service = service
        self._request = request
        self._identity: Identity | None = None
        self._body = b""
        self.changes = request.method not in ("GET", "HEAD")
        self.body_is_broken = False  # then nobody can tell where the next request begins

    def asked(self, status: int) -> Asked:
        request = self._request
        return Asked(request.method, request.raw_path, request.remote or "", self._identity, self._body, status)

    async def make(self) -> web.StreamResponse:
        request, service = self._request, self._service
        if sum(len(name) + len(value) for name, value in request.raw_headers) > limits.HEADER_BYTES_MAX:
            raise HttpProblem(431, f"the headers have more than {limits.HEADER_BYTES_MAX} bytes")
        check_host(request.headers.get("Host"), service.allowed_hosts)
        path = request.raw_path.partition("?")[0]
        socket = service.sockets.get(path)
        if socket is not None and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._open_socket(socket)
        manners = service.manners
        found = service.routes.find(path, manners.formats, manners.other_suffixes)
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
        find = self._service.find_page
        page: Page | None = find(path) if find is not None else None
        if page is None:
            return None
        if self._method != "GET":
            raise HttpProblem(405, "pages can only be read", headers={"Allow": "GET, HEAD"})
        headers = self._service.own_headers | {"Cache-Control": page.cache_control}
        if page.file.suffix == ".html":
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return SentFile(page.file, headers=headers)

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
        return route.body_bytes_max if route.body_bytes_max is not None else self._service.body_bytes_max

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
        headers = self._request.headers
        if changes:
            _token, from_cookie = token_of(headers)
            check_origin(headers.get("Origin"), headers.get("Host"), cookie=from_cookie)
        doorkeeper = self._service.doorkeeper
        self._identity = await doorkeeper.identify(self._request, access, partial(self._read_body, body_bytes_max))
        doorkeeper.check(self._identity, access)

    def _check_content_type(self, route: Route) -> None:
        if not (self._service.manners.needs_json_type and route.json_body):
            return
        request = self._request
        nothing = not request.body_exists and "Content-Type" not in request.headers
        if not nothing and request.content_type != "application/json":
            raise HttpProblem(415, "`Content-Type: application/json` would be right")

    async def _read_body(self, bytes_max: int) -> bytes:
        """The whole body, unpacked if it came compressed; at most once."""
        request = self._request
        if self._body or not request.body_exists:
            return self._body
        too_large = HttpProblem(413, f"the body has more than {bytes_max} bytes")
        if (request.content_length or 0) > bytes_max:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._service.body_within_s * (1 + bytes_max // limits.ANSWER_STEP_BYTES)):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    if size > bytes_max:
                        raise too_large
                    pieces.append(piece)
        except TimeoutError as error:
            raise HttpProblem(408, "the body did not come in time") from error
        except web.RequestPayloadError as error:
            self.body_is_broken = True
            raise HttpProblem(400, "the body is not encoded as its headers say") from error
        self._body = b"".join(pieces)
        return self._body

    def _respond(self, response: Response, format_: Format) -> web.StreamResponse:
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"} | self._service.own_headers
        headers |= response.headers
        if response.file is not None:
            if response.content_type is not None:
                headers["Content-Type"] = response.content_type
            return SentFile(response.file, status=response.status, headers=headers)
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
        response.headers.update(service.own_headers)
        path = request.raw_path.partition("?")[0]
        message = self._message(Found({}, path, {}, Format.JSON))
        await response.prepare(request)
        service.open_sockets.add(response)
        try:
            await route.handler(message, OpenSocket(request, response))
        except ConnectionError:
            log.debug("http.socket_lost path=%s remote=%s", path, request.remote)
        except Exception:
            log.exception("http.bug path=%s", path)
            await response.close(code=WSCloseCode.INTERNAL_ERROR)
        finally:
            service.open_sockets.discard(response)
            if not response.closed:
                await response.close()
        return response


async def send(request: web.Request, response: web.StreamResponse) -> None:
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
