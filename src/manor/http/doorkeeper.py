"""Who asks: a node by its signature, a person by a token, this machine, or everybody where nothing is set up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from manor.http.access import FailureLimit, check_permission, is_loopback, token_of
from manor.http.errors import HttpProblem
from manor.trust.errors import BadSignature
from manor.trust.requests import SCHEME, RequestVerifier
from manor.trust.tokens import Identity, Tokens

EVERYBODY: Final = Identity("anonymous", "admin")  # where no tokens are set up
THIS_MACHINE: Final = Identity("local", "admin")  # whoever asks over loopback, where that is enough

ReadBody = Callable[[], Awaitable[bytes]]


class Asking(Protocol):
    """What is looked at of a request."""

    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> str: ...
    @property
    def remote(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Doorkeeper:
    """Keys and tokens of one service, and what it remembers of those who had wrong ones."""

    def __init__(self, tokens: Tokens | None, verifier: RequestVerifier | None, *, open_to_loopback: bool) -> None:
        self.tokens = tokens
        self.verifier = verifier
        self._open_to_loopback = open_to_loopback
        self._failures = FailureLimit()

    async def identify(self, request: Asking, access: str, read_body: ReadBody) -> Identity | None:
        """Who it is, as far as that can be told.

        Raises:
            HttpProblem: 401 for wrong credentials, 429 after too many of them; neither where access is `-`.
        """
        remote, now = request.remote or "", time.monotonic()
        try:
            return await self._identify(request, read_body, now)
        except HttpProblem as problem:
            if problem.status == 401:
                self._failures.failed(remote, now)
            if access == "-" and problem.status in (401, 429):
                return None
            raise

    def check(self, identity: Identity | None, access: str) -> None:
        """401 for nobody, 403 for somebody who may not."""
        if access == "c" and self.tokens is None and self.verifier is None:
            return  # a node alone on its loopback address, without a key
        check_permission(identity, access)

    async def _identify(self, request: Asking, read_body: ReadBody, now: float) -> Identity | None:
        remote = request.remote or ""
        if request.headers.get("Authorization", "").startswith(f"{SCHEME} "):
            self._failures.check(remote, now)
            return self._signer(request, await read_body())
        if self.tokens is None:
            return EVERYBODY
        token, _from_cookie = token_of(request.headers)
        if token is None:
            return THIS_MACHINE if self._open_to_loopback and is_loopback(remote) else None
        identity = self.tokens.remembered(token)
        if identity is None:
            self._failures.check(remote, now)
            identity = await asyncio.to_thread(self.tokens.authenticate, token)
        if identity is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise HttpProblem(401, "this token is not known, or no longer", headers=challenge)
        return identity

    def _signer(self, request: Asking, body: bytes) -> Identity:
        if self.verifier is None:
            raise HttpProblem(401, "this node has no cluster key, so it cannot verify a signed request")
        header = request.headers["Authorization"]
        try:
            node_id = self.verifier.verify(
                header, method=request.method, path=request.raw_path, body=body, now=time.time()
            )
        except BadSignature as error:
            raise HttpProblem(401, str(error)) from error
        return Identity(node_id, "node")
