"""Who asks, and the cookie of the web pages."""

from __future__ import annotations

import asyncio
from typing import Any

from manor.http.access import login_cookie
from manor.http.errors import HttpProblem
from manor.http.message import Request, Response
from manor.http.service import Service


class Login:
    def __init__(self, service: Service) -> None:
        self._service = service

    def whoami(self, request: Request) -> dict[str, Any]:
        identity = request.identity
        return {"name": identity.name, "role": identity.role} if identity else {"name": "anonymous", "role": None}

    async def log_in(self, request: Request) -> Response:
        document = request.json()
        token = document.get("token") if isinstance(document, dict) else None
        if not isinstance(token, str):
            raise HttpProblem(400, '{"token": "NAME.SECRET"} would be right')
        tokens = self._service.tokens
        identity = await asyncio.to_thread(tokens.authenticate, token) if tokens is not None else None
        if identity is None:
            raise HttpProblem(401, "this token is not known, or no longer")
        cookie = login_cookie(token, secure=False)
        return Response(data={"name": identity.name, "role": identity.role}, headers={"Set-Cookie": cookie})

    def log_out(self, _request: Request) -> Response:
        return Response(data={"ok": True}, headers={"Set-Cookie": login_cookie("", secure=False)})
