"""The doors of the receiving side: `routes(receiver, plan)` is a table that a node's server mounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from manor.config.errors import ManorError
from manor.config.loader import ConfigError
from manor.delivery.configs import METADATA_BYTES_MAX
from manor.delivery.errors import BadUsage, Corrupt, ImageMalformed, NameTaken, NoSpace, NotSupported
from manor.delivery.messages import Announce, Commit, PlanNode, RuntimeVersion
from manor.delivery.names import check_id, check_sandbox_name
from manor.delivery.staging import Receiver
from manor.http.errors import HttpProblem
from manor.http.message import Request, Response
from manor.http.routes import Handler, Route

PREFIX: Final = "/v1/delivery"
INDEX_BODY_BYTES_MAX: Final = 64 * 1024 * 1024  # beyond, delivery works without the index
CONFIG_BODY_BYTES_MAX: Final = 2 * METADATA_BYTES_MAX  # as a JSON text

Plan = Callable[[str, str | None], Sequence[PlanNode]]  # sandbox, role or None -> who should have its images

M = TypeVar("M", bound=msgspec.Struct)

_STATUSES: Final[tuple[tuple[type[ManorError], int], ...]] = (
    (NameTaken, 409),
    (NoSpace, 507),
    (NotSupported, 501),
    (BadUsage, 400),
    (Corrupt, 422),
    (ImageMalformed, 422),
    (ConfigError, 422),
)


def routes(receiver: Receiver, plan: Plan) -> tuple[Route, ...]:
    """Every handler blocks and is called in a thread."""

    def announce(request: Request) -> Any:
        return receiver.announce(_decode(request.body, Announce))

    def commit(request: Request) -> Any:
        return receiver.commit(_decode(request.body, Commit))

    def put_index(request: Request) -> Any:
        receiver.put_index(request.parameters["id"], request.body)
        return {"ok": True}

    def get_index(request: Request) -> Any:
        check_id(request.parameters["id"])
        data = receiver.records.index_bytes(request.parameters["id"])
        if data is None:
            raise HttpProblem(404, "no such index here")
        return Response(body=data, content_type="text/plain; charset=us-ascii")

    def get_plan(request: Request) -> Any:
        sandbox = request.query.get("sandbox", "")
        check_sandbox_name(sandbox)
        return list(plan(sandbox, request.query.get("role")))

    def status(request: Request) -> Any:
        found: dict[str, dict[str, Any]] = {}
        for (sandbox, name), progress in receiver.progress().items():
            found.setdefault(sandbox, {})[name] = progress
        return found

    def status_of_one(request: Request) -> Any:
        sandbox, name = request.parameters["sandbox"], request.parameters["name"]
        progress = receiver.progress().get((sandbox, name))
        if progress is None:
            raise HttpProblem(404, f"nothing is known of {sandbox}/{name} here")
        return progress

    def put_config(request: Request) -> Any:
        kind = request.parameters["kind"]
        if kind != "runtime":
            raise NotSupported(f"delivery of {kind}")
        if receiver.configs is None:
            raise BadUsage("this node takes no runtime metadata")
        message = _decode(request.body, RuntimeVersion)
        return {"id": receiver.configs.put_runtime(message.role, message.version, message.text.encode())}

    def route(method: str, path: str, handler: Handler, access: str, **options: Any) -> Route:
        return Route(method, PREFIX + path, _worded(handler), access, blocking=True, **options)

    return (
        route("GET", "/plan", get_plan, "d", changes=False),
        route("POST", "/announce", announce, "dc"),
        route("POST", "/commit", commit, "dc"),
        route("GET", "/index/{id}", get_index, "dc", changes=False),
        route("PUT", "/index/{id}", put_index, "dc", json_body=False, body_bytes_max=INDEX_BODY_BYTES_MAX),
        route("GET", "/status", status, "v", changes=False),
        route("GET", "/status/{sandbox}/{name*}", status_of_one, "v", changes=False),
        route("POST", "/config/{kind}", put_config, "d", body_bytes_max=CONFIG_BODY_BYTES_MAX),
    )


def _worded(handler: Handler) -> Handler:
    """The handler with this room's errors as HTTP ones."""

    def handle(request: Request) -> Any:
        try:
            return handler(request)
        except ManorError as error:
            for kind, status in _STATUSES:
                if isinstance(error, kind):
                    raise HttpProblem(status, str(error)) from error
            raise
        except OSError as error:
            raise HttpProblem(500, f"{error.filename or 'delivery'}: {error.strerror}") from error

    return handle


def _decode(body: bytes, into: type[M]) -> M:
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.DecodeError as error:
        raise HttpProblem(400, f"body: {error}") from error
