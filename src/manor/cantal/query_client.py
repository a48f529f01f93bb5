"""Ask a cantal agent. The one module of cantal that other programs may import to ask; it is cheap to import.

    async with Client("http://127.0.0.1:22682") as cantal:
        answer = await cantal.peers()
        for peer in answer.peers:
            print(peer.name, peer.state, peer.primary_addr)
        busy = fine().matching("metric", r"^cpu\\.").history(150).derivative().sum_by("metric")
        print(await cantal.query({"busy": busy}))

Times are whole milliseconds since 1970. Programs without an event loop use `BlockingClient`, which has the same
methods. Rules are plain data as in query documents, or made by `fine()` and `states()`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from manor.config.errors import ManorError

if TYPE_CHECKING:
    from aiohttp import ClientSession

DEFAULT_URL: Final = "http://127.0.0.1:22682"
ANSWER_BYTES_MAX: Final = 256 << 20
PEERS_BYTES_MAX: Final = 16 << 20


class CantalError(ManorError):
    """Whatever went wrong with a question."""


class AgentUnreachable(CantalError):
    """no agent at http://127.0.0.1:22682: connection refused"""

    exit_status = 3


class Timeout(AgentUnreachable):
    """the agent at http://127.0.0.1:22682 did not answer within 10 s"""


class NotAuthorised(CantalError):
    """this needs a token"""

    exit_status = 5


class Refused(CantalError):
    """The agent said no: `status` is that of HTTP, `text` its reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class BadQuery(Refused):
    """rules.busy.functions[1]: SumBy takes 3 arguments, 2 given"""

    def __init__(self, path: str, text: str, status: int = 400) -> None:
        super().__init__(status, f"{path}: {text}" if path else text)
        self.path = path


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One member of the cluster, as one agent knows it. Legacy agents leave out what is None here by default."""

    id: str
    hostname: str | None = None
    name: str | None = None
    addresses: tuple[str, ...] = ()
    known_since: int = 0
    primary_addr: str | None = None
    last_report_direct: int | None = None  # one observer's; use `available` for a sign of life
    last_report: int | None = None
    roundtrip: int | None = None
    has_remote: bool | None = None
    peers: int | None = None
    state: str | None = None  # alive, suspect, dead, left, unconfirmed
    available: bool | None = None
    state_since: int | None = None
    incarnation: int | None = None
    suspected_by: tuple[str, ...] = ()
    unreachable_from: tuple[Any, ...] = ()
    scan_age: int | None = None
    version: str | None = None
    clock_skew: int | None = None
    rtt_avg: float | None = None


class PeersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody but the agent asked; `requested` is its clock when it answered."""

    peers: tuple[Peer, ...]
    requested: int = 0


class AddHostAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is `alive` or `unanswered` if it was waited for."""

    ok: bool
    state: str | None = None
    id: str | None = None


class Rule:
    """A rule under construction; every method gives a new one."""

    __slots__ = ("_conditions", "_extract", "_functions", "_source")

    def __init__(
        self,
        source: str,
        conditions: tuple[Any, ...] = (),
        extract: tuple[Any, ...] = ("Tip",),
        functions: tuple[Any, ...] = (),
    ) -> None:
        self._source = source
        self._conditions = conditions
        self._extract = extract
        self._functions = functions

    def plain(self) -> dict[str, Any]:
        """As it stands in a query document."""
        conditions = [list(one) for one in self._conditions]
        condition: list[Any] = conditions[0] if len(conditions) == 1 else ["And", *conditions] if conditions else []
        return {
            "series": {"source": self._source, "condition": condition},
            "extract": list(self._extract),
            "functions": [list(one) for one in self._functions],
        }

    def where(self, *condition: Any) -> Rule:
        """Another condition that must hold too, such as `where("Has", "pid")`."""
        return Rule(self._source, (*self._conditions, condition), self._extract, self._functions)

    def equal(self, name: str, text: str) -> Rule:
        return self.where("Eq", name, text)

    def matching(self, name: str, pattern: str) -> Rule:
        return self.where("RegexLike", name, pattern)

    def history(self, ticks: int) -> Rule:
        return self._taking("HistoryByNum", ticks)

    def history_ms(self, milliseconds: int) -> Rule:
        return self._taking("HistoryByTime", milliseconds)

    def since(self, moment_ms: int) -> Rule:
        return self._taking("HistorySince", moment_ms)

    def fresh(self, milliseconds: int) -> Rule:
        return self._taking("FreshTip", milliseconds)

    def difference(self, ticks: int) -> Rule:
        return self._taking("DiffToAtMost", ticks)

    def derivative(self) -> Rule:
        return self.then("NonNegativeDerivative")

    def sum(self) -> Rule:
        return self.then("Sum", "Ignore")

    def sum_by(self, name: str, *, total: bool = False) -> Rule:
        return self.then("SumBy", name, "Ignore", total)

    def aggregate(self, operation: str, *names: str) -> Rule:
        return self.then("Aggregate", operation, list(names))

    def then(self, *function: Any) -> Rule:
        """Any other function."""
        return Rule(self._source, self._conditions, self._extract, (*self._functions, function))

    def _taking(self, *extract: Any) -> Rule:
        return Rule(self._source, self._conditions, extract, self._functions)


def fine() -> Rule:
    """Numbers: counters and levels."""
    return Rule("Fine")


def states() -> Rule:
    """States: what is being done, since when."""
    return Rule("Tip")


Rules: TypeAlias = Mapping[str, "Rule | Mapping[str, Any]"]


class Client:
    """One agent. Raises CantalError and its kinds; use as an asynchronous context manager, or `close` it."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout: float = 10) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.get("/status.json")
        return found

    async def peers(self) -> PeersAnswer:
        """All members the agent knows, in one answer that costs the agent nothing when asked every second."""
        body = await self._exchange("GET", "/all_peers.json", None, PEERS_BYTES_MAX, self._timeout_s)
        return decode_peers(body)

    async def add_host(self, addr: str, wait: int | None = None) -> AddHostAnswer:
        """`wait` is in ms."""
        body = {"addr": addr} if wait is None else {"addr": addr, "wait": wait}
        return msgspec.convert(await self.post("/add_host.json", body, wait_ms=wait or 0), AddHostAnswer)

    async def query(self, rules: Rules, combine: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The document `{"values": {rule: dataset}, ...}` about this machine."""
        return await self._query("/query.json", rules, combine, 0)

    async def query_by_host(
        self, rules: Rules, wait: int = 0, combine: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Every host's own answer. `wait` ms for members that have to be connected first."""
        return await self._query(f"/remote/query_by_host.json?wait={wait}", rules, combine, wait)

    async def remote_query(
        self, rules: Rules, wait: int = 0, combine: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One answer about all hosts together."""
        return await self._query(f"/remote/query.json?wait={wait}", rules, combine, wait)

    async def get(self, path: str) -> Any:
        """Any resource."""
        return _decoded(await self._exchange("GET", path, None, ANSWER_BYTES_MAX, self._timeout_s))

    async def post(self, path: str, body: Any, wait_ms: int = 0) -> Any:
        """Any resource; `wait_ms` is what the agent was told to wait at most."""
        data = json.dumps(body).encode()
        return _decoded(await self._exchange("POST", path, data, ANSWER_BYTES_MAX, self._timeout_s + wait_ms / 1000))

    async def _query(self, path: str, rules: Rules, combine: Mapping[str, Any] | None, wait_ms: int) -> dict[str, Any]:
        document = {"rules": {name: rule.plain() if isinstance(rule, Rule) else rule for name, rule in rules.items()}}
        if combine:
            document["combine"] = dict(combine)
        try:
            found: dict[str, Any] = await self.post(path, document, wait_ms)
        except Refused as error:
            if error.status not in (400, 422):
                raise
            place, colon, text = error.text.partition(": ")
            raise BadQuery(place if colon else "", text if colon else error.text, error.status) from error
        return found

    async def _exchange(self, method: str, path: str, body: bytes | None, most: int, seconds: float) -> bytes:
        import aiohttp  # takes long to import, and many who import this module never ask

        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(method, self.url + path, data=body, headers=headers) as answer,
            ):
                content = await _read(answer.content, most)
                status = answer.status
        except TimeoutError as error:
            raise Timeout(f"the agent at {self.url} did not answer within {seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise AgentUnreachable(f"no agent at {self.url}: {error.os_error.strerror or error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AgentUnreachable(f"no agent at {self.url}: {error or type(error).__name__}") from error
        if status < 400:
            return content
        reason = _reason(content, status)
        raise NotAuthorised(reason) if status in (401, 403) else Refused(status, reason)


class BlockingClient:
    """The same for programs without an event loop."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout: float = 10) -> None:
        self._client = Client(url, token, timeout)
        self._runner = asyncio.Runner()

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def status(self) -> dict[str, Any]:
        return self._runner.run(self._client.status())

    def peers(self) -> PeersAnswer:
        return self._runner.run(self._client.peers())

    def add_host(self, addr: str, wait: int | None = None) -> AddHostAnswer:
        return self._runner.run(self._client.add_host(addr, wait))

    def query(self, rules: Rules, combine: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._runner.run(self._client.query(rules, combine))

    def query_by_host(self, rules: Rules, wait: int = 0, combine: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._runner.run(self._client.query_by_host(rules, wait, combine))

    def remote_query(self, rules: Rules, wait: int = 0, combine: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._runner.run(self._client.remote_query(rules, wait, combine))

    def get(self, path: str) -> Any:
        return self._runner.run(self._client.get(path))

    def post(self, path: str, body: Any, wait_ms: int = 0) -> Any:
        return self._runner.run(self._client.post(path, body, wait_ms))


def decode_peers(body: bytes) -> PeersAnswer:
    """The text of `/all_peers.json`, of this agent or a legacy one.

    Raises:
        CantalError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=PeersAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CantalError(f"the agent's list of peers makes no sense: {error}") from error


def decode_datasets(body: bytes) -> dict[str, Any]:
    """The binary form of an answer (`/query.cbor`) as the document `/query.json` gives, newest samples first.

    Raises:
        CantalError: it is none.
    """
    import cbor2

    try:
        values = cbor2.loads(body)["values"]
        return {"values": {name: _dataset(one) for name, one in values.items()}}
    except Exception as error:  # whatever the decoder thinks of foreign bytes
        raise CantalError(f"the agent's answer makes no sense: {error}") from error


_KINDS: Final = ("State", "Counter", "Integer", "Float")
_REASONS: Final = {
    100: "CantSumChart",
    101: "Dissimilar",
    102: "CantSumTimestamps",
    103: "CantSumStates",
    104: "CantDerive",
    105: "UnexpectedType",
    106: "Unsupported",
}


def _dataset(form: list[Any]) -> dict[str, Any]:
    number, *parts = form
    if number == 100:
        return {"type": "SingleSeries", "series": _series(*parts)}
    if number == 101:
        return {"type": "MultiSeries", "series": [_series(*one) for one in parts[0]]}
    if number == 200:
        return {"type": "SingleTip", "tip": _tip(*parts)}
    if number == 201:
        return {"type": "MultiTip", "tips": [_tip(*one) for one in parts[0]]}
    if number == 300:
        return {"type": "Chart", "counts": parts[0]}
    if number == 998:
        return {"type": "Empty"}
    return {"type": "Incompatible", "reason": _REASONS.get(parts[0][0], str(parts[0][0]))}


def _series(key: bytes, chunk: list[Any], timestamps: list[int]) -> dict[str, Any]:
    return {"key": _key(key), "kind": _KINDS[chunk[0]], "values": chunk[1], "timestamps": timestamps}


def _tip(key: bytes, value: list[Any], slice_: list[int]) -> dict[str, Any]:
    plain = {"since": value[1][0], "text": value[1][1]} if value[0] == 0 else value[1]
    return {"key": _key(key), "kind": _KINDS[value[0]], "value": plain, "slice": slice_}


def _key(data: bytes) -> dict[str, str]:
    import cbor2

    return dict(cbor2.loads(data)) if data else {}


async def _read(content: Any, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in content.iter_any():
        size += len(piece)
        if size > most:
            raise ValueError(f"the answer has more than {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CantalError(f"the agent's answer is no JSON: {error}") from error


def _reason(content: bytes, status: int) -> str:
    try:
        found = msgspec.json.decode(content)
        return str(found["error"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return f"the agent answered with status {status}"
