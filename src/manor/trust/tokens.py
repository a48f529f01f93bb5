"""Bearer tokens: which person or program may do what. `/etc/manor/tokens.yaml` holds only hashes.

A token reads `NAME.SECRET`: the name finds the entry, so a wrong token costs at most one scrypt, however many entries
there are. A token that passed is remembered by a keyed hash until it expires or the file is read anew.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from manor.config.dialect import VERWALTER
from manor.config.loader import ConfigError, load
from manor.config.units import Pattern
from manor.trust.errors import TokensFileError
from manor.trust.private_file import read_private_file

TOKENS_FILE: Final = Path("/etc/manor/tokens.yaml")

Role: TypeAlias = Literal["viewer", "operator", "deployer", "admin"]

PERMISSIONS: Final[Mapping[str, frozenset[str]]] = {
    "viewer": frozenset("v"),  # read
    "operator": frozenset("vo"),  # act on what runs
    "deployer": frozenset("vd"),  # deliver images and runtime metadata
    "admin": frozenset("voda"),  # everything people may
    "node": frozenset("vc"),  # a request signed with the cluster key; no token has this role
}

SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
SCRYPT_N: Final = 2**14  # 16 MiB and some 40 ms: the secret is random, so this is only the second line
SCRYPT_N_MAX: Final = 2**17  # a hash in the file must not take more than 128 MiB
SCRYPT_R: Final = 8
TOKENS_FILE_BYTES_MAX: Final = 1024 * 1024
TOKEN_CHARACTERS_MAX: Final = 256
REMEMBERED_MAX: Final = 10_000  # good tokens only, so no stranger can fill it

_HASH: Final = re.compile(r"scrypt:(\d{1,7}):([0-9a-f]{32}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    name: str
    role: str  # of PERMISSIONS
    roles_allowed: tuple[str, ...] = ("*",)  # patterns of the cluster's roles an operator may act on

    def may(self, permission: str) -> bool:
        return permission in PERMISSIONS[self.role]


class TokenEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file."""

    name: Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_@-]{0,62}", "letters, digits, `_`, `-`, `@`, at most 63")]
    role: Role
    hash: Annotated[str, Pattern(_HASH.pattern, "`scrypt:N:SALT:HASH` as `verwalter-ctl token create` prints it")]
    expires: str | None = None  # a day or a moment; from then on, UTC, the token is not good
    roles_allowed: tuple[str, ...] = ("*",)

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.expires is not None and _moment(self.expires) is None:
            yield ("expires",), f"`{self.expires}` is no day; `2027-01-01` or `2027-01-01T12:00:00Z` would be right"
        match = _HASH.fullmatch(self.hash)
        if match is not None and not _usable_cost(int(match[1])):
            yield ("hash",), f"scrypt cost {match[1]}; a power of two from 2 to {SCRYPT_N_MAX} would be right"


class Tokens:
    """The tokens of one file. Reading the file again means making a new one of these."""

    def __init__(self, entries: Iterable[TokenEntry]) -> None:
        self._entries: dict[str, list[TokenEntry]] = {}
        for entry in entries:  # one name may have several tokens, so that one can be replaced without a gap
            self._entries.setdefault(entry.name, []).append(entry)
        self._memory_key = secrets.token_bytes(32)
        self._passed: dict[bytes, TokenEntry] = {}

    @classmethod
    def read(cls, path: Path = TOKENS_FILE) -> Tokens:
        """Raises TokensFileError: not there, readable by others, or anything wrong in it, with its position."""
        content = read_private_file(path, bytes_max=TOKENS_FILE_BYTES_MAX, refused=TokensFileError)
        try:
            return cls(load(content, str(path), tuple[TokenEntry, ...], VERWALTER).value)
        except ConfigError as error:
            raise TokensFileError(str(error)) from error

    def authenticate(self, token: str, *, now: float | None = None) -> Identity | None:
        """Whose token it is, or None. May take the time of one scrypt: from an event loop call it in a thread."""
        known = self.remembered(token, now=now)
        if known is not None or len(token) > TOKEN_CHARACTERS_MAX:
            return known
        at = time.time() if now is None else now
        for entry in self._entries.get(token.partition(".")[0], ()):
            if _is_good_at(entry, at) and _matches(token, entry.hash):
                if len(self._passed) < REMEMBERED_MAX:
                    self._passed[self._memory(token)] = entry
                return _identity(entry)
        return None

    def remembered(self, token: str, *, now: float | None = None) -> Identity | None:
        """As `authenticate`, but only for a token that passed before: never slow."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            return None
        entry = self._passed.get(self._memory(token))
        if entry is None or not _is_good_at(entry, time.time() if now is None else now):
            return None
        return _identity(entry)

    def _memory(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), key=self._memory_key, digest_size=32).digest()


def make_token(
    name: str, role: Role, ttl: float | None = None, *, roles_allowed: tuple[str, ...] = (), now: float | None = None
) -> tuple[str, str]:
    """A new token and its entry for the file, a YAML text of one list item that ends with a newline.

    Args:
        ttl: seconds until it expires; None for a token that never does.
    """
    token = f"{name}.{secrets.token_urlsafe(SECRET_BYTES)}"
    fields = {"name": name, "role": role, "hash": _hash(token, SCRYPT_N, secrets.token_bytes(SALT_BYTES))}
    if ttl is not None:
        expires = datetime.fromtimestamp((time.time() if now is None else now) + ttl, UTC)
        fields["expires"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [f'{key}: "{value}"' for key, value in fields.items()]
    if roles_allowed:
        lines.append("roles-allowed: [" + ", ".join(f'"{role}"' for role in roles_allowed) + "]")
    return token, "- " + "\n  ".join(lines) + "\n"


def _identity(entry: TokenEntry) -> Identity:
    return Identity(entry.name, entry.role, entry.roles_allowed)


def _is_good_at(entry: TokenEntry, now: float) -> bool:
    if entry.expires is None:
        return True
    moment = _moment(entry.expires)
    return moment is not None and now < moment


def _moment(text: str) -> float | None:
    """Seconds since 1970 of a day or a moment; what names no zone is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _usable_cost(cost: int) -> bool:
    return 2 <= cost <= SCRYPT_N_MAX and math.log2(cost).is_integer()


def _hash(token: str, cost: int, salt: bytes) -> str:
    return f"scrypt:{cost}:{salt.hex()}:{_scrypt(token, cost, salt).hex()}"


def _matches(token: str, stored: str) -> bool:
    match = _HASH.fullmatch(stored)
    assert match is not None, "the loader has checked the form"
    expected = bytes.fromhex(match[3])
    return hmac.compare_digest(_scrypt(token, int(match[1]), bytes.fromhex(match[2])), expected)


def _scrypt(token: str, cost: int, salt: bytes) -> bytes:
    return hashlib.scrypt(
        token.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=SCRYPT_R, p=1, dklen=HASH_BYTES, maxmem=2**28
    )
