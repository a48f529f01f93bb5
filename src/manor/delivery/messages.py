"""What pusher and node say to each other, as JSON over HTTP."""

from __future__ import annotations

from typing import Literal

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Fields that are not known are ignored: a newer pusher may say more."""


class Announce(Message, frozen=True):
    """`POST /v1/delivery/announce`: this image is coming; may it, and where to?"""

    sandbox: str
    name: str
    id: str
    size: int
    files: int
    source: str = ""  # who pushes from where, for the record
    signature: str | None = None


class Announced(Message, frozen=True):
    """The node's answer. `have`: nothing to do. `wanted`: the bytes go to `staging`, then `commit` is said."""

    state: Literal["have", "wanted"]
    staging: str | None = None
    link_dest: str | None = None  # an image delivered before, with which unchanged files can be shared
    index_known: bool = False  # else upload it: then files of other names are shared too, and errors name paths


class Commit(Message, frozen=True):
    """`POST /v1/delivery/commit`: all bytes are there; verify them and make the name visible."""

    sandbox: str
    name: str
    id: str


class Committed(Message, frozen=True):
    state: Literal["have"] = "have"


class RuntimeVersion(Message, frozen=True):
    """`POST /v1/delivery/config/runtime`: metadata of one version of a role, a YAML text."""

    role: str
    version: str
    text: str


class PlanNode(Message, frozen=True):
    """One node of `GET /v1/delivery/plan`."""

    hostname: str
    addresses: tuple[str, ...]  # `IP:PORT` of its HTTP API, best first
    free: int | None = None  # bytes, where known
    ways: tuple[str, ...] = ("rsync",)
    has: bool | None = None  # has it the image that was asked about, where known


class Record(Message, frozen=True):
    """`images/SANDBOX/NAME.json`: an image that was delivered and verified here."""

    name: str
    id: str
    size: int
    files: int
    time: int  # milliseconds since 1970
    source: str = ""


class Progress(Message, frozen=True):
    """How far an image is on this node."""

    state: Literal["waiting", "receiving", "verifying", "ready", "failed"]
    id: str
    done: float = 0.0  # 0 to 1, of the bytes
    error: str | None = None
