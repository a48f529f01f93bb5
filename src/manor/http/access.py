"""Who may ask: the Host and Origin of a request, the identity behind it, how often one may be wrong.

Theory of operation. An agent on a developer's machine is reachable by every web page that developer opens. Two checks
keep those out: `Host` must be a name we know or an IP literal (else a foreign name was rebound to our address), and an
`Origin`, which only browsers send, must be our own host wherever something may change. After that comes the identity:
a signature with the cluster key, a token, a cookie that holds a token, or nothing.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from manor.http.errors import HttpProblem
from manor.http.limits import FAILING_ADDRESSES_MAX, FAILURES_MAX, FAILURES_WITHIN_S, LOCKED_OUT_S
from manor.trust.tokens import Identity

COOKIE: Final = "manor"
ANONYMOUS: Final = Identity("anonymous", "admin")  # where no tokens are set up, everybody may everything


def check_host(host: str | None, allowed: Collection[str]) -> None:
    """403 unless `Host` is an IP literal, localhost, or one of the allowed names (lower case)."""
    name = host_name(host or "")
    if name is None:
        raise HttpProblem(400, "no usable `Host` header; the name or address of this node would be right")
    if name in ("localhost", *allowed) or _is_address(name):
        return
    raise HttpProblem(
        403, f"`{name}` is no name of this node; its address, its host name or one of allowed-hosts would be"
    )


def check_origin(origin: str | None, host: str | None, *, cookie: bool) -> None:
    """403 if a web page of another host asks, or if only a cookie speaks for the request and no page is named."""
    if origin is None:
        if cookie:
            raise HttpProblem(403, "a request that a cookie speaks for needs an `Origin` header")
        return
    try:
        source = urlsplit(origin).netloc.lower()
    except ValueError:
        source = ""
    if not source or source != (host or "").lower():
        raise HttpProblem(403, "a page of another host may not do this")


def host_name(host: str) -> str | None:
    """The name of a `Host` value without its port, lower case; None if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  raises ValueError if it is no number
    except ValueError:
        return None
    plain = parts.username is None and not parts.path and not parts.query and not parts.fragment
    return parts.hostname if plain else None


def is_loopback(remote: str) -> bool:
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool(mapped.is_loopback if mapped is not None else address.is_loopback)


def token_of(headers: Mapping[str, str]) -> tuple[str | None, bool]:
    """The token a request carries, if any, and whether a cookie carried it."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), False
    try:
        cookie = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return None, False
    return (cookie.value, True) if cookie is not None and cookie.value else (None, False)


def login_cookie(token: str, *, secure: bool) -> str:
    """The value of `Set-Cookie` that makes the web pages ask with this token; an empty token logs out."""
    ending = "" if token else "; Max-Age=0"
    return f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}{ending}"


def check_permission(identity: Identity | None, access: str) -> None:
    """401 for nobody, 403 for somebody who may not."""
    if access == "-":
        return
    if identity is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise HttpProblem(401, "this needs a token; `Authorization: Bearer TOKEN` would be right", headers=headers)
    if not any(identity.may(permission) for permission in access):
        raise HttpProblem(403, f"`{identity.name}` has the role {identity.role}, which may not do this")


class FailureLimit:
    """Addresses that showed wrong credentials: ten in a minute, and they are refused for a minute."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()  # address -> moments, oldest address first
        self._locked_until: dict[str, float] = {}

    def check(self, address: str, now: float) -> None:
        """429 while the address is locked out."""
        until = self._locked_until.get(address, 0.0)
        if now < until:
            headers = {"Retry-After": str(int(until - now) + 1)}
            raise HttpProblem(429, "too many wrong credentials from this address; wait a minute", headers=headers)

    def failed(self, address: str, now: float) -> None:
        """One more wrong credential."""
        moments = [at for at in self._failures.pop(address, []) if at > now - FAILURES_WITHIN_S]
        moments.append(now)
        if len(moments) >= FAILURES_MAX:
            self._locked_until = {a: at for a, at in self._locked_until.items() if at > now}
            if len(self._locked_until) < FAILING_ADDRESSES_MAX:
                self._locked_until[address] = now + LOCKED_OUT_S
            return
        self._failures[address] = moments
        while len(self._failures) > FAILING_ADDRESSES_MAX:
            self._failures.popitem(last=False)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
